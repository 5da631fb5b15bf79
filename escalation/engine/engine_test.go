package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/catalog"
)

const configuration = `
external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing:
  fallback_team: sre
  confidential: [['security="true"']]
notifiers:
  slack: {bot_token_file: token, signing_secret_file: secret, channel: "#incidents"}
  email: {smarthost: "mail.example.org:587", from: callchain@example.org, link_key_file: key}
`

const catalogue = `
people:
  - {name: ana, email: ana@example.org, slack: U01ANA}
  - {name: ben, email: ben@example.org, slack: U01BEN}
  - {name: gus, email: gus@example.org, slack: U01GUS}
  - {name: vic, email: vic@example.org, slack: U01VIC}
teams:
  - {name: ops, members: [ana], manager: ben, slack_channel: "#ops", email: ops@example.org}
  - {name: dev, members: [ben], manager: ben}
  - {name: helpers, kind: volunteer, members: [vic], slack_channel: "#helpers"}
  - {name: sre, members: [gus], slack_channel: "#sre", email: sre@example.org}
services:
  - name: parsoid
    state: active
    volunteers: [helpers]
    runbook: https://runbooks.example.org/parsoid
    owners: {development: dev, configuration_deployment: ops, incident_response: ops, product_management: dev}
  - {name: gone, state: decommissioned}
`

func snapshot(t testing.TB, channels map[string]Channel) *Snapshot {
	t.Helper()
	return snapshotOf(t, configuration, catalogue, channels)
}

func snapshotOf(t testing.TB, configuration, catalogue string, channels map[string]Channel) *Snapshot {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"callchain.yml": configuration, "catalog.yml": catalogue} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, ps := config.Load(filepath.Join(dir, "callchain.yml"), config.Options{NoSecrets: true})
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	files, ps := config.LoadCatalog(cfg.CatalogFiles)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	cat, ps := catalog.New(files)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	router, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return &Snapshot{Config: cfg, Catalog: cat, Router: router, Channels: channels,
		Link: func(incident, person string, _ time.Time) string {
			return "https://callchain.example.org/ack/" + incident + "." + person
		}}
}

// fake is a channel that remembers what it delivered, and when.
type fake struct {
	mu     sync.Mutex
	answer func(notifiers.Message) notifiers.Result // nil: delivered
	takes  time.Duration
	sent   []delivered
	probes int
	broken bool
}

type delivered struct {
	notifiers.Message
	at time.Time
}

func (f *fake) Deliver(ctx context.Context, msg notifiers.Message) notifiers.Result {
	if f.takes > 0 {
		select {
		case <-time.After(f.takes):
		case <-ctx.Done():
			return notifiers.Result{Verdict: notifiers.Ambiguous, Err: ctx.Err()}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answer != nil {
		if res := f.answer(msg); res.Verdict != notifiers.Sent {
			return res
		}
	}
	f.sent = append(f.sent, delivered{msg, time.Now()})
	ref := msg.Ref
	if !msg.Edit {
		ref = notifiers.Ref{Channel: "C" + msg.Address, TS: fmt.Sprint(len(f.sent))}
	}
	return notifiers.Result{Ref: ref}
}

func (f *fake) Probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probes++
	if f.broken {
		return errors.New("token_revoked")
	}
	return nil
}

func (f *fake) fails(answer func(notifiers.Message) notifiers.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// pages are the first deliveries of pages: who, in order.
func (f *fake) pages() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var who []string
	for _, d := range f.sent {
		if d.Kind == notifiers.Page && !d.Edit {
			who = append(who, d.You.Handle)
		}
	}
	return who
}

func (f *fake) all() []delivered {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

type bench struct {
	*Engine
	slack, email *fake
	stop         func()
}

func start(t *testing.T, st store.Store, slack, email *fake) *bench {
	t.Helper()
	return startOf(t, st, configuration, catalogue, slack, email)
}

// unlimited lets every incident be a page of its own.
const unlimited = configuration + "  max_pages_per_minute: 1000\n"

func startOf(t *testing.T, st store.Store, configuration, catalogue string, slack, email *fake) *bench {
	t.Helper()
	return run(t, st, snapshotOf(t, configuration, catalogue, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}), slack, email, escalation.Schema)
}

// startAs starts an engine of a version that writes another schema.
func startAs(t *testing.T, st store.Store, slack, email *fake, schema int) *bench {
	t.Helper()
	return run(t, st, snapshotOf(t, unlimited, catalogue, map[string]Channel{notifiers.Slack: slack, notifiers.Email: email}), slack, email, schema)
}

func run(t *testing.T, st store.Store, snap *Snapshot, slack, email *fake, schema int) *bench {
	t.Helper()
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, snap)
	e.schema = schema
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	wg.Go(func() { _ = e.RunProbes(ctx) })
	b := &bench{Engine: e, slack: slack, email: email, stop: func() { cancel(); wg.Wait() }}
	t.Cleanup(b.stop)
	return b
}

func webhook(name, service, severity string, firing bool, starts time.Time) routing.Webhook {
	a := routing.WebhookAlert{
		Firing: firing, StartsAt: starts, Fingerprint: uint64(len(name))<<32 + uint64(name[len(name)-1]),
		Labels:      map[string]string{"alertname": name, "service": service, "severity": severity},
		Annotations: map[string]string{"summary": "it is slow"},
	}
	if !firing {
		a.EndsAt = time.Now()
	}
	return routing.Webhook{GroupKey: "k", ExternalURL: "http://am.example.org", GroupLabels: map[string]string{"alertname": name}, Alerts: []routing.WebhookAlert{a}}
}

func only(t *testing.T, e *Engine) escalation.Incident {
	t.Helper()
	list, _, err := e.Incidents(t.Context(), Filter{})
	if err != nil || len(list) != 1 {
		t.Fatalf("incidents: %d, %v; want one", len(list), err)
	}
	return list[0]
}

func TestPageEscalateAcknowledgeResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		began := time.Now()
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, began)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Fatalf("paged over Slack: %v; want ana", got)
		}
		first := b.slack.all()[0]
		for _, d := range b.slack.all() {
			if d.Kind == notifiers.Page {
				first = d
			}
		}
		if first.Address != "U01ANA" || first.You.Step != 1 || first.Incident.Runbook != "https://runbooks.example.org/parsoid" || first.Incident.Next == nil {
			t.Errorf("the page lacks something: %+v", first.Message)
		}
		mail := b.email.all()[0]
		if mail.You.AckURL == "" || mail.Address != "ana@example.org" {
			t.Errorf("the mail lacks its link or address: %+v", mail.Message)
		}

		time.Sleep(25*time.Minute - 500*time.Millisecond) // 10m + 15m merged: ana is her whole team
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
			t.Fatalf("after 25 minutes: %v; want ana, ben", got)
		}

		id := only(t, b.Engine).ID
		inc, answer, err := b.Do(t.Context(), id, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Via: "slack"}})
		if err != nil || answer.Kind != escalation.Done || inc.AcknowledgedBy() != "ben" {
			t.Fatalf("acknowledge: %v %v %v", inc.Summary(), answer, err)
		}
		pages := len(b.slack.pages())
		time.Sleep(3 * time.Hour)
		if got := b.slack.pages(); len(got) != pages {
			t.Errorf("paged after the acknowledgement: %v", got[pages:])
		}
		last := map[string]notifiers.State{}
		for _, d := range b.slack.all() {
			if d.Kind == notifiers.Page {
				last[d.You.Handle] = d.Incident.State
			}
		}
		if last["ana"] != notifiers.Acknowledged || last["ben"] != notifiers.Acknowledged {
			t.Errorf("pages show %v; want both acknowledged", last)
		}
		if told := b.email.all()[len(b.email.all())-1]; told.Kind != notifiers.Told || told.You.Handle != "ana" {
			t.Errorf("last mail is %s to %v; want ana to be told", told.Kind, told.You)
		}

		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", false, began)); err != nil {
			t.Fatal(err)
		}
		if inc := only(t, b.Engine); inc.State != escalation.Resolved || inc.NextStepAt() != 0 {
			t.Errorf("after the resolve: %s", inc.Summary())
		}
	})
}

// A process that dies after its commit leaves an intent; another one sends it
// once the lease is over. Dying is a store that answers nobody any more.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		dying := st.Open()
		slow := &fake{takes: time.Hour}
		a := start(t, dying, slow, slow)
		if err := a.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		dying.Inject(func(string) (bool, error) { return false, errors.New("it is dead") })

		b := start(t, st.Open(), &fake{}, &fake{})
		time.Sleep(11 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("after the lease: %v; want ana paged by the other process", got)
		}
		time.Sleep(time.Minute)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("paged again: %v", got)
		}
	})
}

func TestTwoEnginesShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		slack, email := &fake{}, &fake{}
		a, b := start(t, st.Open(), slack, email), start(t, st.Open(), slack, email)
		w := webhook("Slow", "parsoid", "page", true, time.Now())
		var wg sync.WaitGroup
		for _, e := range []*bench{a, b} { // both peers of an Alertmanager pair
			wg.Go(func() {
				if err := e.Webhook(t.Context(), "main", w); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(50*time.Minute - time.Second)
		if got := slack.pages(); !slices.Equal(got, []string{"ana", "ben"}) {
			t.Errorf("paged %v; want ana and ben, once each", got)
		}
		only(t, a.Engine)
	})
}

// paced checks that a conversation takes no more than three messages at once and
// one a second.
func paced(t *testing.T, sent []delivered) {
	t.Helper()
	for i := burst; i < len(sent); i++ {
		if gap := sent[i].at.Sub(sent[i-burst].at); gap < 900*time.Millisecond {
			t.Errorf("%d messages to %s within %v", burst+1, sent[i].You.Handle, gap)
		}
	}
}

func TestOnePageASecondPerPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for i := range 5 {
			if err := b.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", i), "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		var pages []delivered
		for _, d := range b.slack.all() {
			if d.Kind == notifiers.Page {
				pages = append(pages, d)
			}
		}
		paced(t, pages)
		if n := len(pages); n < 5 {
			t.Errorf("%d pages; want all 5", n)
		}
	})
}

// When many incidents end at once, somebody's next page does not wait until all
// their messages say so; and still no second has two messages.
func TestPagesDoNotQueueBehindEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startOf(t, mem.New(), unlimited, catalogue, &fake{}, &fake{})
		began := time.Now()
		hook := func(name string, firing bool) {
			if err := b.Webhook(t.Context(), "main", webhook(name, "parsoid", "page", firing, began)); err != nil {
				t.Fatal(err)
			}
		}
		const many = 20
		for i := range many {
			hook(fmt.Sprintf("Slow%c", 'A'+i), true)
		}
		time.Sleep(many * time.Second)
		for i := range many {
			hook(fmt.Sprintf("Slow%c", 'A'+i), false)
		}
		time.Sleep(2 * time.Second)
		fired := time.Now()
		hook("New", true)
		time.Sleep(2 * time.Minute)
		var toAna []delivered
		resolved := 0
		for _, d := range b.slack.all() {
			if d.Kind != notifiers.Page {
				continue
			}
			toAna = append(toAna, d)
			if d.Edit && d.Incident.State == notifiers.Resolved {
				resolved++
			}
			if !d.Edit && d.Incident.AlertName == "New" && d.at.Sub(fired) > 3*time.Second {
				t.Errorf("the page took %v", d.at.Sub(fired))
			}
		}
		paced(t, toAna)
		if got := len(b.slack.pages()); got != many+1 {
			t.Errorf("%d pages; want %d", got, many+1)
		}
		if resolved != many {
			t.Errorf("%d messages say that it is resolved; want %d", resolved, many)
		}
	})
}

// An edit comes through although new messages follow each other without a pause.
func TestEditsComeThrough(t *testing.T) {
	turns := newTurns()
	page := func(i int) escalation.Delivery {
		return escalation.Delivery{ID: fmt.Sprint("p", i), Kind: escalation.PageDelivery, Channel: notifiers.Slack, To: "ana"}
	}
	edit := page(0)
	edit.ID, edit.Ref = "e", escalation.Ref{Channel: "D1", TS: "1"}
	now := escalation.Instant(1_000_000)
	for i := range burst { // at once: they need no turn
		if at := turns.next(page(10+i), now); at != now {
			t.Fatalf("page %d of a storm has its turn at +%d", i, at-now)
		}
	}
	now += turnEvery
	for i := range 3 {
		if at := turns.next(page(i), now); at != now+escalation.Instant(i)*turnEvery {
			t.Fatalf("page %d has its turn at +%d", i, at-now)
		}
	}
	if at := turns.next(edit, now); at != now+3*turnEvery {
		t.Fatalf("the edit has its turn at +%d", at-now)
	}
	if wait := turns.wait(edit, now); wait != time.Second {
		t.Errorf("an edit beside a page waits %v", wait)
	}
	edit.Waits = 1
	if wait := turns.wait(edit, now); wait != 0 {
		t.Errorf("an edit that was put off waits again: %v", wait)
	}
	// Turns are reservations: the same one again, and free when it is given back.
	if again, other := turns.next(page(2), now), turns.next(page(3), now); again != now+2*turnEvery || other != now+3*turnEvery {
		t.Errorf("turns at +%d and +%d", again-now, other-now)
	}
	turns.free(page(2))
	if at := turns.next(page(4), now); at != now+2*turnEvery {
		t.Errorf("a turn that was given back is not used: +%d", at-now)
	}
}

// What a channel asks for one message holds for the conversation: the next
// incident's page to the same person would only be refused as well.
func TestWaitsAsLongAsTheChannelAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		slack := &fake{}
		slack.answer = func(msg notifiers.Message) notifiers.Result {
			if msg.Kind == notifiers.Page && refused == 0 {
				refused++
				return notifiers.Result{Verdict: notifiers.Retry, After: 5 * time.Second, Err: errors.New("rate limited")}
			}
			return notifiers.Result{}
		}
		b := start(t, mem.New(), slack, &fake{})
		began := time.Now()
		for i := range 3 {
			if err := b.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", i), "parsoid", "page", true, began)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		boards := 0
		for _, d := range slack.all() {
			switch {
			case d.Kind == notifiers.Page && d.at.Sub(began) < 5*time.Second:
				t.Errorf("a page to ana after %v; Slack asked for 5 s", d.at.Sub(began))
			case d.Address == "#ops" && d.Kind == notifiers.Board && !d.Edit && d.at.Sub(began) < 5*time.Second:
				boards++
			}
		}
		if got := slack.pages(); len(got) != 3 {
			t.Errorf("%d pages; want all 3", len(got))
		}
		if boards != 3 {
			t.Errorf("%d boards in the meantime; want all 3, they are another conversation", boards)
		}
	})
}

// Volunteers who were told of an incident see nothing of an alert that makes it confidential.
func TestVolunteersSeeNothingConfidential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		began := time.Now()
		w := webhook("Slow", "parsoid", "page", true, began)
		if err := b.Webhook(t.Context(), "main", w); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		secret := webhook("Leak", "parsoid", "page", true, began)
		secret.GroupLabels = w.GroupLabels
		secret.Alerts[0].Labels["security"] = "true"
		secret.Alerts[0].Annotations["summary"] = "keys are public"
		if err := b.Webhook(t.Context(), "main", secret); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		told := 0
		for _, d := range b.slack.all() {
			if d.Address != "#helpers" {
				continue
			}
			told++
			for _, a := range d.Incident.Alerts {
				if a.Name == "Leak" {
					t.Errorf("message %d to the volunteers shows %+v", told, a)
				}
			}
			if told > 1 && (d.Incident.AlertName != "an alert" || d.Incident.Page != "" || d.Incident.Silence != "") {
				t.Errorf("message %d to the volunteers says too much: %+v", told, d.Incident)
			}
		}
		if told < 2 {
			t.Errorf("%d messages to the volunteers; want the board and its edit", told)
		}
		if !only(t, b.Engine).Confidential {
			t.Error("the incident is not confidential")
		}
	})
}

func TestChannelDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slack := &fake{broken: true}
		slack.answer = func(notifiers.Message) notifiers.Result {
			return notifiers.Result{Verdict: notifiers.Down, Err: errors.New("token_revoked")}
		}
		b := start(t, mem.New(), slack, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := b.email.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Fatalf("mailed %v; want ana", got)
		}
		told := slices.ContainsFunc(b.email.all(), func(d delivered) bool { return d.Kind == notifiers.Notice && d.Address == "sre@example.org" })
		if !told {
			t.Error("the team that looks after callchain was not told")
		}
		if up := testutil.ToFloat64(b.metrics.channelUp.WithLabelValues("slack")); up != 0 {
			t.Errorf("callchain_channel_up is %v", up)
		}
		slack.fails(nil)
		slack.mu.Lock()
		slack.broken = false
		slack.mu.Unlock()
		time.Sleep(25 * time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
			t.Errorf("after recovery paged %v; want what is still due", got)
		}
		if slices.ContainsFunc(b.slack.all(), func(d delivered) bool { return d.Kind == notifiers.Notice }) {
			t.Error("Slack itself was told that it is down, when it worked again")
		}
		if up := testutil.ToFloat64(b.metrics.channelUp.WithLabelValues("slack")); up != 1 {
			t.Errorf("callchain_channel_up is %v", up)
		}
	})
}

// Who counts channels that are up must not count one that is not configured.
func TestChannelUpIsOfConfiguredChannels(t *testing.T) {
	slack, email := map[string]Channel{"slack": &fake{}}, map[string]Channel{"email": &fake{}}
	e := New(Config{Store: mem.New(), Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}, snapshot(t, slack))
	shown := func(want string) {
		t.Helper()
		want = "# HELP callchain_channel_up 1 while a configured channel as a whole works.\n# TYPE callchain_channel_up gauge\n" + want
		if err := testutil.CollectAndCompare(e.metrics.channelUp, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	}
	shown("callchain_channel_up{channel=\"slack\"} 1\n")
	for range outageAfter {
		e.judge(escalation.Delivery{Channel: notifiers.Slack}, notifiers.Result{Verdict: notifiers.Down})
	}
	shown("callchain_channel_up{channel=\"slack\"} 0\n")
	e.Reload(snapshot(t, email))
	shown("callchain_channel_up{channel=\"email\"} 1\n")
	e.Reload(snapshot(t, slack))
	shown("callchain_channel_up{channel=\"slack\"} 0\n")
	e.work.Wait()
}

// A webhook that could not be stored is not answered, and the retry is the first that counts.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, apply := range []bool{false, true} {
			st := mem.New()
			b := start(t, st, &fake{}, &fake{})
			n := 0
			st.Inject(func(op string) (bool, error) {
				if op != "commit" || n > 0 {
					return false, nil
				}
				n++
				return apply, errors.New("the line was cut")
			})
			w := webhook("Slow", "parsoid", "page", true, time.Now())
			if err := b.Webhook(t.Context(), "main", w); err == nil {
				t.Fatal("a webhook that may not be stored was answered")
			}
			if err := b.Webhook(t.Context(), "main", w); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
			if got := b.slack.pages(); !slices.Equal(got, []string{"ana"}) {
				t.Errorf("applied=%v: paged %v; want ana once", apply, got)
			}
			b.stop()
		}
	})
}

// A risk is counted once, whether its alert opens an incident or is only recorded.
func TestRisksAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for _, severity := range []string{"info", "page"} {
			for range 2 { // its repeat is none
				if err := b.Webhook(t.Context(), "main", webhook("Slow "+severity, "thumbor", severity, true, time.Now())); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := testutil.ToFloat64(b.metrics.risks.WithLabelValues(string(routing.RiskUnknownService))); n != 2 {
			t.Errorf("callchain_risks_total is %v; want 2", n)
		}
	})
}

func TestNoticeIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for range 3 {
			if err := b.Notice(t.Context(), Notice{Key: "k", Title: "bad webhook", Body: "<!channel>", BoardOnly: true}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if n := len(b.slack.all()); n != 1 || len(b.email.all()) != 0 {
			t.Errorf("%d notices on the board, %d mails; want one and none", n, len(b.email.all()))
		}
		if list, _, _ := b.Incidents(t.Context(), Filter{}); len(list) != 0 {
			t.Error("a notice is listed as an incident")
		}
	})
}

func TestTestPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		inc, err := b.TestPage(t.Context(), "ben", escalation.Actor{Handle: "ana", Via: "cli"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ben"}) {
			t.Fatalf("paged %v", got)
		}
		if _, a, err := b.Do(t.Context(), inc.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Via: "slack"}}); err != nil || a.Kind != escalation.Done {
			t.Fatal(a, err)
		}
		if got := only(t, b.Engine); got.State != escalation.Resolved {
			t.Errorf("%s; want it over", got.Summary())
		}
		if _, err := b.TestPage(t.Context(), "nobody", escalation.Actor{}); !errors.Is(err, ErrUnknownPerson) {
			t.Errorf("unknown person: %v", err)
		}
	})
}

func TestListsByPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		for i := range 25 {
			if err := b.Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", string(rune('a'+i))), "parsoid", "page", true, time.Now())); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		var seen []string
		cursor := ""
		for {
			list, next, err := b.Incidents(t.Context(), Filter{State: "open", Limit: 10, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for i, inc := range list {
				if i > 0 && list[i-1].OpenedAt < inc.OpenedAt {
					t.Error("not newest first")
				}
				seen = append(seen, inc.ID)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		slices.Sort(seen)
		if len(slices.Compact(seen)) != 25 {
			t.Errorf("%d incidents over all pages; want 25", len(seen))
		}
		if _, _, err := b.Incidents(t.Context(), Filter{Cursor: "x"}); !errors.Is(err, ErrBadCursor) {
			t.Errorf("bad cursor: %v", err)
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	newMetrics(reg)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Who is asked anew in the second round is not told that it went on without them.
func TestPageOfTheSecondRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, mem.New(), &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", webhook("Down", "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		asked := false
		for range 24 {
			time.Sleep(10 * time.Minute)
			for _, p := range b.slack.heard("ana").pages {
				if p.You.Round == 2 && !asked {
					asked = true
					if word := notifiers.StateWord(p.Message); word != "FIRING" || p.Incident.Step != p.You.Step || p.Incident.Round != 2 {
						t.Errorf("the page of step %d, round %d begins with %s (the incident is at step %d, round %d)", p.You.Step, p.You.Round, word, p.Incident.Step, p.Incident.Round)
					}
				}
			}
		}
		if !asked {
			t.Error("there was no second round")
		}
	})
}
