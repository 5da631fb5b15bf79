package engine

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/report"
)

type metrics struct {
	resolved       *prometheus.CounterVec
	webhookToPage  prometheus.Histogram
	timerLateness  prometheus.Histogram
	timeToAck      *prometheus.HistogramVec
	escalations    *prometheus.CounterVec
	pages          *prometheus.CounterVec
	duplicatePages *prometheus.CounterVec
	channelUp      *prometheus.GaugeVec
	risks          *prometheus.CounterVec
	commitSeconds  prometheus.Histogram
	conflicts      prometheus.Counter
	behind         prometheus.Counter
	storeUp        prometheus.Gauge
	oldestOverdue  prometheus.Gauge
	incidents      *prometheus.GaugeVec
	panics         prometheus.Counter
	repairs        *prometheus.CounterVec
	heartbeats     *prometheus.CounterVec
	reportSuccess  prometheus.Gauge
	island         prometheus.Gauge
	journalBacklog prometheus.Gauge
	witnessRepairs *prometheus.CounterVec
}

var everyRisk = []routing.Risk{
	routing.RiskUnowned, routing.RiskPartial, routing.RiskUnknownService, routing.RiskUnmapped, routing.RiskDecommissioned,
	routing.RiskNobodyOnCall, routing.RiskSinglePerson, routing.RiskExhausted, routing.RiskUnreachable, routing.RiskAmbiguousMatch,
	routing.RiskMissingReference, routing.RiskWrongOwner, routing.RiskHeroics,
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	fast := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &metrics{
		resolved:       f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_resolutions_total", Help: "Resolved alerts by what became of them: applied, unknown (its firing was not seen), early (older than the firing)."}, []string{"result"}),
		webhookToPage:  f.NewHistogram(prometheus.HistogramOpts{Name: "callchain_webhook_to_page_seconds", Help: "From the webhook's arrival to the first byte of a page it caused.", Buckets: fast}),
		timerLateness:  f.NewHistogram(prometheus.HistogramOpts{Name: "callchain_timer_lateness_seconds", Help: "How late a step was taken.", Buckets: append(fast[2:len(fast):len(fast)], 30, 60, 300)}),
		timeToAck:      f.NewHistogramVec(prometheus.HistogramOpts{Name: "callchain_time_to_acknowledge_seconds", Help: "From the opening of an incident to its acknowledgement.", Buckets: []float64{15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400}}, []string{"urgency"}),
		escalations:    f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_escalations_total", Help: "Steps taken after the first, by reason: timeout, manual, unreachable."}, []string{"reason"}),
		pages:          f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_pages_total", Help: "Attempts to page somebody, by the channel's answer."}, []string{"channel", "outcome"}),
		duplicatePages: f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_duplicate_pages_total", Help: "Pages that may have arrived twice, by cause."}, []string{"cause"}),
		channelUp:      f.NewGaugeVec(prometheus.GaugeOpts{Name: "callchain_channel_up", Help: "1 while a configured channel as a whole works."}, []string{"channel"}),
		risks:          f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_risks_total", Help: "Ownership risks found, by kind."}, []string{"kind"}),
		commitSeconds:  f.NewHistogram(prometheus.HistogramOpts{Name: "callchain_store_commit_seconds", Help: "Duration of a durable commit.", Buckets: fast}),
		behind:         f.NewCounter(prometheus.CounterOpts{Name: "callchain_store_behind_total", Help: "Answers that were given although no replica of Redis confirmed in time what they say is stored."}),
		conflicts:      f.NewCounter(prometheus.CounterOpts{Name: "callchain_store_conflicts_total", Help: "Commits that somebody else was faster with; they are decided again."}),
		storeUp:        f.NewGauge(prometheus.GaugeOpts{Name: "callchain_store_up", Help: "1 while the store answers."}),
		oldestOverdue:  f.NewGauge(prometheus.GaugeOpts{Name: "callchain_oldest_overdue_seconds", Help: "Age of the oldest timer that is due and not yet handled."}),
		incidents:      f.NewGaugeVec(prometheus.GaugeOpts{Name: "callchain_incidents", Help: "Open incidents."}, []string{"state", "urgency"}),
		panics:         f.NewCounter(prometheus.CounterOpts{Name: "callchain_panics_total", Help: "Panics that were contained to one incident."}),
		repairs:        f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_auditor_repairs_total", Help: "Records put right by what was wrong: no_wake, forgotten (nobody woke them), unreadable (quarantined)."}, []string{"kind"}),
		heartbeats:     f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_heartbeats_total", Help: "Beats of alertmanager.heartbeats that came in, by source."}, []string{"source"}),
	}
	m.reportSuccess = f.NewGauge(prometheus.GaugeOpts{Name: "callchain_report_last_success_timestamp_seconds", Help: "When the weekly report was last handed to its recipients' channels; 0: not since the start."})
	m.island = f.NewGauge(prometheus.GaugeOpts{Name: "callchain_island", Help: "1 while the store, or a part of it, is away: what arrives is kept in the journal, and what is new is paged once."})
	m.journalBacklog = f.NewGauge(prometheus.GaugeOpts{Name: "callchain_journal_backlog", Help: "What the journal keeps until the store is back."})
	m.witnessRepairs = f.NewCounterVec(prometheus.CounterOpts{Name: "callchain_witness_repairs_total", Help: "Alerts put right by asking Alertmanager: lost_resolve (it knows them no longer), lost_firing (it never told of them)."}, []string{"kind"})
	for _, kind := range []string{"lost_resolve", "lost_firing"} {
		m.witnessRepairs.WithLabelValues(kind)
	}
	m.storeUp.Set(1)
	for _, r := range []string{"applied", "unknown", "early"} {
		m.resolved.WithLabelValues(r)
	}
	for _, kind := range []string{noWake, forgotten, "unreadable"} {
		m.repairs.WithLabelValues(kind)
	}
	for _, r := range []string{"timeout", "manual", "unreachable"} {
		m.escalations.WithLabelValues(r)
	}
	for _, ch := range []string{notifiers.Slack, notifiers.Email} {
		for v := notifiers.Sent; v <= notifiers.Down; v++ {
			m.pages.WithLabelValues(ch, v.String())
		}
	}
	for _, cause := range []string{unknownOutcome, byIsland} {
		m.duplicatePages.WithLabelValues(cause)
	}
	for _, r := range everyRisk {
		m.risks.WithLabelValues(string(r))
	}
	for _, u := range config.Urgencies {
		m.timeToAck.WithLabelValues(string(u))
	}
	m.zeroIncidents()
	return m
}

func (m *metrics) zeroIncidents() {
	for _, st := range []escalation.State{escalation.Triggered, escalation.Acknowledged, escalation.Snoozed} {
		for _, u := range config.Urgencies {
			m.incidents.WithLabelValues(string(st), string(u)).Set(0)
		}
	}
}

// showChannels sets the series of the channels that are configured and removes
// the others: one that nobody can be paged over must not pass for one that works.
func (e *Engine) showChannels() {
	snap := e.snap.Load()
	for name, h := range e.health {
		switch {
		case snap.Channels[name] == nil:
			e.metrics.channelUp.DeleteLabelValues(name)
		case h.why() != "":
			e.metrics.channelUp.WithLabelValues(name).Set(0)
		default:
			e.metrics.channelUp.WithLabelValues(name).Set(1)
		}
	}
}

func (m *metrics) resolutions(r escalation.Resolutions) {
	m.resolved.WithLabelValues("applied").Add(float64(r.Applied))
	m.resolved.WithLabelValues("unknown").Add(float64(r.Unknown))
	m.resolved.WithLabelValues("early").Add(float64(r.Early))
}

// recorded counts the risks of alerts that opened no incident.
func (m *metrics) recorded(events []report.Event) {
	for _, ev := range events {
		for _, r := range ev.Risks {
			m.risks.WithLabelValues(string(r.Kind)).Inc()
		}
	}
}

// changed counts and logs what a committed change did to an incident.
func (e *Engine) changed(before, after *escalation.Incident, now time.Time) {
	if e.shore != nil {
		return // it counts when the store is back
	}
	if before == nil {
		before = &escalation.Incident{}
		if after.Kind == escalation.Alerts {
			e.log.Info("incident opened", "incident", after.ID, "subject", after.Subject, "urgency", string(after.Urgency), "assessment", string(after.Assessment))
		}
	}
	known := map[routing.Risk]bool{}
	for _, r := range before.Risks {
		known[r] = true
	}
	for _, r := range after.Risks {
		if !known[r] {
			e.metrics.risks.WithLabelValues(string(r)).Inc()
		}
	}
	if before.ID != "" && after.Moves > before.Moves {
		reason := "manual"
		switch {
		case before.RemindAt == 0 && before.Deadline == before.StepAt:
			reason = "unreachable"
		case before.Deadline != 0 && before.Deadline <= escalation.At(now):
			reason = "timeout"
		}
		e.metrics.escalations.WithLabelValues(reason).Inc()
		e.log.Info("escalated", "incident", after.ID, "step", after.Position, "round", after.Round, "reason", reason)
	}
	if before.State != after.State && before.ID != "" {
		e.log.Info("incident changed", "incident", after.ID, "state", string(after.State), "by", after.AcknowledgedBy())
		if after.State == escalation.Acknowledged && after.Ack != nil && (before.Ack == nil || before.Ack.At != after.Ack.At) {
			e.metrics.timeToAck.WithLabelValues(string(after.Urgency)).Observe(now.Sub(after.OpenedAt.Time()).Seconds())
		}
	}
	if after.Held != before.Held {
		e.log.Info("what Alertmanager says changed whether an incident waits", "incident", after.ID, "held", after.Held, "because", after.HeldBecause())
	}
	if after.Stale && !before.Stale {
		e.log.Warn("no word from Alertmanager about an open incident", "incident", after.ID, "subject", after.Subject)
	}
	if after.Exhausted && !before.Exhausted {
		e.log.Error("nobody answered", "incident", after.ID, "subject", after.Subject)
	}
}

// RunGauges counts open incidents every 15 s, until ctx is done.
func (e *Engine) RunGauges(ctx context.Context) error {
	ticker := time.NewTicker(15 * time.Second)
	defer ticker.Stop()
	for {
		e.count(ctx)
		e.lookFull(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// counted is what is read of an incident to count it.
type counted struct {
	State   escalation.State `json:"st"`
	Urgency config.Urgency   `json:"u"`
}

func (e *Engine) count(ctx context.Context) {
	type cell struct{ state, urgency string }
	counts := map[cell]float64{}
	now := e.store.Now()
	var overdue time.Duration
	var seen *sighting
	if e.island != nil {
		seen = e.island.known.look()
	}
	err := e.scan(ctx, "i/", func(rec store.Record) bool {
		if !rec.Wake.IsZero() {
			overdue = max(overdue, now.Sub(rec.Wake))
		}
		// No more of it than is counted: there may be many.
		var inc counted
		var err error
		if seen == nil {
			err = record.Decode(rec.Data, &inc)
		} else {
			inc, err = seen.incident(rec.Data)
		}
		if err != nil || inc.State == escalation.Resolved {
			return true // a resolved one may still fire again
		}
		counts[cell{string(inc.State), string(inc.Urgency)}]++
		return true
	})
	if err != nil && !errors.Is(err, store.ErrPartial) {
		return
	}
	if err == nil && seen != nil {
		seen.done()
	}
	// With a part of the store away, what is overdue in the rest is worth knowing.
	e.metrics.zeroIncidents()
	for c, n := range counts {
		e.metrics.incidents.WithLabelValues(c.state, c.urgency).Set(n)
	}
	e.metrics.oldestOverdue.Set(overdue.Seconds())
	e.overdue.set(now, overdue)
}
