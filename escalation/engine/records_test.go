package engine

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/routing/report"
)

// asJSON writes every record again as callchain wrote them first.
func asJSON(t *testing.T, st store.Store) {
	t.Helper()
	var recs []store.Record
	if err := st.Scan(t.Context(), "", func(r store.Record) bool { recs = append(recs, r); return true }); err != nil {
		t.Fatal(err)
	}
	for _, r := range recs {
		var v any
		switch kind, _, _ := strings.Cut(r.Key.ID, "/"); kind {
		case "i", "c":
			v = &escalation.Incident{}
		case "g":
			v = &escalation.Group{}
		case "f":
			v = &report.Facts{}
		default:
			continue
		}
		if err := record.Decode(r.Data, v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		w := store.Write{ID: r.Key.ID, Expect: r.Version, Data: data, Wake: r.Wake}
		if err := st.Commit(t.Context(), store.Txn{Partition: r.Key.Partition, Writes: []store.Write{w}}); err != nil {
			t.Fatal(err)
		}
	}
}

// A store whose records are JSON goes on as if nothing had happened.
func TestRecordsOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := mem.New()
		began := time.Now()
		hook := webhook("Slow", "parsoid", "page", true, began)
		a := start(t, st.Open(), &fake{}, &fake{})
		if err := a.Webhook(t.Context(), "main", hook); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		id := only(t, a.Engine).ID
		a.stop()
		asJSON(t, st)

		b := start(t, st.Open(), &fake{}, &fake{})
		if err := b.Webhook(t.Context(), "main", hook); err != nil {
			t.Fatal(err)
		}
		if got := only(t, b.Engine).ID; got != id {
			t.Errorf("the repeated webhook opened %s beside %s", got, id)
		}
		time.Sleep(26 * time.Minute)
		if got := b.slack.pages(); !slices.Equal(got, []string{"ben"}) {
			t.Errorf("paged %v; want the next step, ben, alone", got)
		}
		if _, answer, err := b.Do(t.Context(), id, escalation.Acknowledge{By: escalation.Actor{Handle: "ben", Via: "slack"}}); err != nil || answer.Kind != escalation.Done {
			t.Errorf("acknowledge: %v, %v", answer, err)
		}
		day := began.UTC().Format(time.DateOnly)
		facts, err := b.Facts(t.Context(), day, day)
		if err != nil || len(facts) != 1 || facts[0].Alerts != 1 || facts[0].Incidents != 1 || facts[0].AckCount != 1 {
			t.Errorf("facts: %+v, %v; want one alert, one incident, one answer", facts, err)
		}
	})
}

// What is looked at before a message is sent is what is stored, whatever was known.
func TestLook(t *testing.T) {
	st := mem.New()
	// It does not run and sends nothing, so nothing changes by itself.
	e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}, snapshot(t, nil))
	e.stop()
	if err := e.Webhook(t.Context(), "main", webhook("Slow", "parsoid", "page", true, time.Now())); err != nil {
		t.Fatal(err)
	}
	known, err := e.load(t.Context(), only(t, e).ID)
	if err != nil {
		t.Fatal(err)
	}
	look := func(of loaded) loaded {
		t.Helper()
		got, err := e.look(t.Context(), &of)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := look(known); got.version != known.version || got.State != escalation.Triggered {
		t.Errorf("unchanged: version %d, %s", got.version, got.Summary())
	}
	// A failover can bring another record with the same version.
	other := known
	other.data, other.State = []byte("other"), escalation.Snoozed
	if got := look(other); got.State != escalation.Triggered {
		t.Errorf("the same version of another record: %s", got.Summary())
	}
	if _, _, err := e.Do(t.Context(), known.ID, escalation.Acknowledge{By: escalation.Actor{Handle: "ana", Via: "api"}}); err != nil {
		t.Fatal(err)
	}
	if got := look(known); got.State != escalation.Acknowledged {
		t.Errorf("acknowledged meanwhile: %s", got.Summary())
	}
	// Archived, which is another key; then gone.
	cur, err := e.load(t.Context(), known.ID)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(ws ...store.Write) {
		t.Helper()
		if err := st.Commit(t.Context(), store.Txn{Partition: cur.partition, Writes: ws}); err != nil {
			t.Fatal(err)
		}
	}
	commit(store.Write{ID: cur.key, Expect: cur.version}, store.Write{ID: "c/" + cur.ID, Data: cur.data})
	if got := look(known); got.key != "c/"+cur.ID {
		t.Errorf("archived meanwhile: found under %q", got.key)
	}
	commit(store.Write{ID: "c/" + cur.ID, Expect: 1})
	if _, err := e.look(t.Context(), &known); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted meanwhile: %v, want ErrNotFound", err)
	}
}
