package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/notifiers"
	"callchain/routing/report"
)

// weeklyKey is the record that remembers when the report is due. cron only
// computes the next instant; the store's claim makes one replica send it.
const weeklyKey = "p/weekly"

// weeklyRecord is what is kept of the weekly report.
type weeklyRecord struct {
	Schema   int                `json:"z"`
	Schedule string             `json:"s"` // schedule and zone that Next was computed with
	Since    escalation.Instant `json:"f"` // the first plan: the first period is the one it lies in
	Next     escalation.Instant `json:"n"` // when it is due
	Done     string             `json:"d"` // the last period that was sent: 2026-W46; "" before the first
}

// planWeekly makes sure that the report is planned as configured. The first time
// nothing is sent: an empty store has missed nothing.
func (e *Engine) planWeekly(ctx context.Context) error {
	w := e.snap.Load().Config.Reports.Weekly
	for {
		recs, err := e.loadAny(ctx, 0, weeklyKey)
		if err != nil {
			return fmt.Errorf("load the plan of the weekly report: %w", err)
		}
		rec := weeklyRecord{Schema: e.schema, Since: escalation.At(e.store.Now())}
		if recs[0].Data != nil {
			_, err := e.read(recs[0], &rec, &rec.Schema)
			if errors.Is(err, errNewer) {
				return nil // whoever wrote it plans it
			}
			if err != nil {
				return err
			}
		}
		was := rec
		if w == nil {
			rec.Schedule, rec.Next = "", 0
		} else if err := rec.plan(w, e.store.Now()); err != nil {
			return err
		}
		if recs[0].Data != nil && rec == was || recs[0].Version == 0 && w == nil {
			return nil
		}
		if err := e.saveWeekly(ctx, recs[0].Version, rec); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// plan sets when the report is due. A new schedule counts at once, whether it
// is earlier or later; but what is due already is not put off by it, nor is a
// report of which the new hour has just passed. Under the same schedule nothing
// is due later than planned now: a clock that was ahead, or a replica with
// another configuration, may have planned too late.
func (r *weeklyRecord) plan(w *config.Weekly, now time.Time) error {
	next, err := nextReport(w, now)
	if err != nil {
		return err
	}
	schedule := scheduleOf(w)
	switch {
	case r.Next != 0 && !r.Next.Time().After(now):
	case schedule == r.Schedule && r.Next != 0:
		r.Next = min(r.Next, next)
	default:
		r.Next = next
		if r.Schedule == "" {
			break // it was off: nobody waited for a report
		}
		last, err := report.ParsePeriod("last", now, zone(w))
		if err != nil {
			return err
		}
		if last.String() == r.Done || last.To < report.Day(r.Since.Time(), zone(w)) {
			break
		}
		over, err := time.ParseInLocation(time.DateOnly, last.Next().From, zone(w))
		if err != nil {
			return fmt.Errorf("date the end of %s: %w", last, err)
		}
		if r.Next, err = nextReport(w, over.Add(-time.Second)); err != nil {
			return err
		}
	}
	r.Schedule = schedule
	return nil
}

func (e *Engine) saveWeekly(ctx context.Context, version uint64, rec weeklyRecord) error {
	return e.wakeWeekly(ctx, version, rec, time.Time{})
}

// wakeWeekly saves the plan; the wake-up is when it is due, but not before after.
func (e *Engine) wakeWeekly(ctx context.Context, version uint64, rec weeklyRecord, after time.Time) error {
	wake := rec.Next.Time()
	if !wake.IsZero() && wake.Before(after) {
		wake = after
	}
	rec.Schema = e.schema
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode the plan of the weekly report: %w", err)
	}
	err = e.store.Commit(ctx, store.Txn{Mark: mark(), Writes: []store.Write{{ID: weeklyKey, Expect: version, Data: data, Wake: wake}}})
	if err == nil {
		e.wakeUp()
	}
	return err
}

func scheduleOf(w *config.Weekly) string { return w.Schedule.V + " " + zone(w).String() }

func zone(w *config.Weekly) *time.Location { return config.Reports{Weekly: w}.Zone() }

func nextReport(w *config.Weekly, after time.Time) (escalation.Instant, error) {
	s, err := cron.ParseStandard(w.Schedule.V)
	if err != nil {
		return 0, fmt.Errorf("read reports.weekly.schedule: %w", err)
	}
	return escalation.At(s.Next(after.In(zone(w)))), nil
}

// dueWeekly sends the report of every period that is over and was not sent, once
// per period and recipient whatever crashes in between: each is a record of its
// own whose id names both.
func (e *Engine) dueWeekly(ctx context.Context, claimed store.Record) error {
	var rec weeklyRecord
	if _, err := e.read(claimed, &rec, &rec.Schema); err != nil {
		return err
	}
	snap, now := e.snap.Load(), e.store.Now()
	w := snap.Config.Reports.Weekly
	if w == nil || rec.Next.Time().After(now) {
		// Not ours: a replica that is configured for it, or a plan that moved.
		return e.wakeWeekly(ctx, claimed.Version, rec, now.Add(time.Minute))
	}
	last, err := report.ParsePeriod("last", now, zone(w))
	if err != nil {
		return err
	}
	since := report.Day(rec.Since.Time(), zone(w))
	var due []report.Period
	for p := last; len(due) < maxCatchUp && p.String() != rec.Done && p.To >= since; p = p.Previous() {
		due = append([]report.Period{p}, due...)
	}
	for _, p := range due {
		for _, to := range recipients(w) {
			id := recordID("report", p.String(), to.channel, to.address)
			_, err := e.create(ctx, escalation.NewReport(id, p.String(), to.channel, to.address, now), now)
			if err != nil && !errors.Is(err, store.ErrConflict) { // a conflict: it was sent before
				return err
			}
		}
		rec.Done = p.String()
		e.log.Info("weekly report due", "period", p.String())
	}
	// By our schedule, and said so: a replica with another one plans anew.
	rec.Schedule, rec.Next = scheduleOf(w), 0
	if err := rec.plan(w, now); err != nil {
		return err
	}
	return e.saveWeekly(ctx, claimed.Version, rec)
}

// maxCatchUp bounds how many missed weeks are sent after a long downtime.
const maxCatchUp = 4

type recipient struct{ channel, address string }

func recipients(w *config.Weekly) []recipient {
	var to []recipient
	if w.SlackChannel.V != "" {
		to = append(to, recipient{notifiers.Slack, w.SlackChannel.V})
	}
	for _, a := range w.EmailTo {
		to = append(to, recipient{notifiers.Email, a.V})
	}
	return to
}

// paper is what a period's report says now, to one recipient. Facts of
// confidential alerts are left out in Slack, where a channel may have guests.
func (e *Engine) paper(ctx context.Context, snap *Snapshot, period, channel string) (*notifiers.Paper, error) {
	p, err := report.ParsePeriod(period, e.store.Now(), snap.Config.Reports.Zone())
	if err != nil {
		return nil, err
	}
	facts, err := e.Facts(ctx, p.Previous().From, p.To)
	if err != nil {
		return nil, err
	}
	more := "callchain report --period " + p.Week
	if u := snap.Config.ExternalURL.V; u != "" {
		more = strings.TrimSuffix(u, "/") + "/reports/weekly?period=" + p.Week
	}
	if channel == notifiers.Slack {
		facts = report.Public(facts)
	}
	rep := report.Build(p, facts, facts, snap.Catalog)
	doc := rep.Document(10, more)
	out := &notifiers.Paper{Title: doc.Title, More: doc.More}
	for _, l := range doc.Lead {
		out.Lead = append(out.Lead, notifiers.Untrusted(l))
	}
	for _, sec := range doc.Sections {
		to := notifiers.Section{Title: sec.Title, Left: sec.Left}
		if sec.Note != "" {
			to.Lines = append(to.Lines, notifiers.Untrusted(sec.Note))
		}
		for _, item := range sec.Items {
			to.Lines = append(to.Lines, notifiers.Untrusted(item.Head))
			for _, l := range item.Lines {
				to.Lines = append(to.Lines, notifiers.Untrusted("  "+l))
			}
		}
		out.Sections = append(out.Sections, to)
	}
	if channel == notifiers.Email {
		if out.Text, out.HTML, err = rep.Mail(more); err != nil {
			return nil, fmt.Errorf("write the report as a mail: %w", err)
		}
	}
	return out, nil
}
