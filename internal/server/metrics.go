package server

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	webhooks *prometheus.CounterVec
	alerts   *prometheus.CounterVec
	last     *prometheus.GaugeVec
	panics   prometheus.Counter
}

// unknownSource stands for every source that is not configured: what a request
// names must not become a label.
const unknownSource = "unknown"

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "callchain_webhooks_total", Help: "Webhooks answered, by source and HTTP status code.",
		}, []string{"source", "code"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "callchain_alerts_total", Help: "Alerts of webhooks that were stored, by source and status of the alert.",
		}, []string{"source", "status"}),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "callchain_last_webhook_timestamp_seconds", Help: "When the last webhook of a source was stored; 0: not since the start.",
		}, []string{"source"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "callchain_http_panics_total", Help: "Requests that ended in a panic. Anything above zero is a bug.",
		}),
	}
	reg.MustRegister(m.webhooks, m.alerts, m.last, m.panics)
	return m
}

// zero makes the series of the configured sources, so that a rate has a start.
func (m metrics) zero(v *view) {
	for name := range v.sources {
		for _, code := range []int{200, 400, 401, 413, 503} {
			m.webhooks.WithLabelValues(name, strconv.Itoa(code))
		}
		m.last.WithLabelValues(name)
		m.alerts.WithLabelValues(name, "firing")
		m.alerts.WithLabelValues(name, "resolved")
	}
	m.webhooks.WithLabelValues(unknownSource, "404")
}
