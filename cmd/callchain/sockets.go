package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation/engine"
	"callchain/internal/server"
	"callchain/notifiers/slack"
)

// newSockets makes the connections over which Slack brings what people do, while
// the configuration in force asks for Socket Mode.
func newSockets(wires *wiring, srv *server.Server, eng *engine.Engine, reg prometheus.Registerer, log *slog.Logger) *slack.Sockets {
	s := slack.NewSockets(slack.SocketConfig{
		Where: wires.socketMode,
		Take:  srv.FromSlack,
		Deaf: func(since time.Time, why error) {
			tell(context.Background(), eng, log, deafNotice(since, why))
		},
	}, log)
	reg.MustRegister(socketGauge{s, wires})
	return s
}

func deafNotice(since time.Time, why error) engine.Notice {
	since = since.UTC()
	return engine.Notice{
		Key:   "slack-sockets/" + since.Format("2006-01-02T15"),
		Title: "Slack's buttons do not work",
		Body: "Since " + since.Format("15:04 UTC") + " there is no connection over which Slack could bring a press: " + why.Error() +
			"\nPages still go to Slack, but whoever presses a button there sees a warning, and nothing is stored. Until this is mended acknowledge by the link in the mail, " +
			"or by: callchain incidents ack ID. callchain goes on trying to connect; callchain doctor slack tells what is wrong.",
	}
}

// socketGauge counts the connections. Without Socket Mode there is no such
// metric: 0 always means that nothing comes in.
type socketGauge struct {
	sockets *slack.Sockets
	wires   *wiring
}

var socketsDesc = prometheus.NewDesc("callchain_slack_sockets", "Connections to Slack over which presses come in, in Socket Mode.", nil, nil)

func (g socketGauge) Describe(out chan<- *prometheus.Desc) { out <- socketsDesc }

func (g socketGauge) Collect(out chan<- prometheus.Metric) {
	if g.wires.sockets.Load() != nil {
		out <- prometheus.MustNewConstMetric(socketsDesc, prometheus.GaugeValue, float64(g.sockets.Up()))
	}
}
