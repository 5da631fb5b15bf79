package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	"callchain/escalation/store"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/mem"
	"callchain/internal/testbench"
	"callchain/notifiers"
)

// press is what somebody does to one incident, or a look at it.
type press struct {
	do   string // ack, escalate, resolve, look
	by   string
	from escalation.Place // of an escalation: the step that its button is of
}

// seen is what they were told. The zero value is no answer.
type seen struct {
	kind  escalation.AnswerKind // of a look: Unchanged
	state escalation.State
	by    string
	place escalation.Place
}

// incidentModel is an incident as people see it: one thing happens after the other.
// A state is what a look at it would show.
var incidentModel = porcupine.Model{
	Init: func() any { return seen{} }, // nobody has looked yet: what the first look shows is so
	Step: func(state, input, output any) (bool, any) {
		is, _ := state.(seen)
		in, _ := input.(press)
		out, _ := output.(seen)
		next := is
		var kind escalation.AnswerKind
		switch {
		case is.state == "":
			next = out
			return in.do == "look", next
		case in.do == "look":
			return out == is, is
		case is.state == escalation.Resolved:
			kind = escalation.Closed
		case in.do == "resolve":
			kind = escalation.Done
			next.state, next.by = escalation.Resolved, ""
		case is.state == escalation.Acknowledged:
			kind = escalation.Already
			if out.kind == kind && out.by != is.by {
				return false, is
			}
		case in.do == "ack":
			kind = escalation.Done
			next.state, next.by = escalation.Acknowledged, in.by
		case in.from != is.place:
			kind = escalation.MovedOn
		case out.kind == escalation.NobodyLeft:
			kind = escalation.NobodyLeft
		default: // who is next only the answer tells
			kind = escalation.Done
			next.place = out.place
			if out.kind == kind && out.place == is.place {
				return false, is
			}
		}
		return out.kind == kind, next
	},
}

// crowd lets people at several engines press and look at one incident, all at once,
// and writes down what they were told, and when.
func crowd(t *testing.T, engines []*Engine, id string, dice *rand.Rand) []porcupine.Operation {
	t.Helper()
	var mu sync.Mutex
	var history []porcupine.Operation
	begin := time.Now()
	act := func(client int, e *Engine, p press) seen {
		call := time.Since(begin)
		var inc escalation.Incident
		answer := escalation.Answer{Kind: escalation.Unchanged}
		var err error
		by := escalation.Actor{Handle: p.by, Via: "slack"}
		switch p.do {
		case "ack":
			inc, answer, err = e.Do(t.Context(), id, escalation.Acknowledge{By: by})
		case "escalate":
			inc, answer, err = e.Do(t.Context(), id, escalation.Escalate{By: by, From: &p.from})
		case "resolve":
			inc, answer, err = e.Do(t.Context(), id, escalation.ResolveByHand{By: by})
		default:
			inc, err = e.Incident(t.Context(), id)
		}
		if err != nil {
			t.Errorf("%s: %v", p.do, err)
			return seen{}
		}
		out := seen{kind: answer.Kind}
		switch {
		case p.do == "look":
			out.state, out.by, out.place = inc.State, inc.AcknowledgedBy(), inc.Place()
			if out.state == escalation.Resolved {
				out.by = "" // kept for the record; it answers nothing any more
			}
		case answer.Kind == escalation.Already:
			out.by = answer.By.Handle
		case answer.Kind == escalation.Done && p.do == "escalate":
			out.place = inc.Place()
		}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: p, Output: out, Call: int64(call), Return: int64(time.Since(begin))})
		return out
	}
	first := act(0, engines[0], press{do: "look"})
	var people sync.WaitGroup
	for client := range 6 {
		plan := []string{"escalate", "look", "escalate", "ack", "look", "escalate", "look", "ack"}
		own := rand.New(rand.NewPCG(dice.Uint64(), dice.Uint64()))
		own.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
		if client == 5 {
			plan = append(plan, "resolve", "look")
		}
		people.Go(func() {
			place := first.place
			for _, do := range plan {
				out := act(client, engines[client%len(engines)], press{do: do, by: []string{"ana", "ben"}[client%2], from: place})
				if out.place != (escalation.Place{}) {
					place = out.place
				}
			}
		})
	}
	people.Wait()
	act(0, engines[0], press{do: "look"})
	return history
}

// linearizable opens incidents one by one, lets a crowd at each, and returns how many
// of their histories no order of one after the other explains.
func linearizable(t *testing.T, stores []store.Store, incidents int) (broken int) {
	t.Helper()
	var engines []*Engine
	for _, st := range stores {
		e := New(Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)},
			snapshot(t, map[string]Channel{notifiers.Slack: &fake{}, notifiers.Email: &fake{}}))
		t.Cleanup(func() { e.stop(); e.cut(); e.work.Wait() })
		engines = append(engines, e)
	}
	dice := rand.New(rand.NewPCG(1, 2))
	known := map[string]bool{}
	for n := range incidents {
		if err := engines[0].Webhook(t.Context(), "main", webhook(fmt.Sprint("Slow", n), "parsoid", "page", true, time.Now())); err != nil {
			t.Fatal(err)
		}
		list, _, err := engines[0].Incidents(t.Context(), Filter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, inc := range list {
			if known[inc.ID] {
				continue
			}
			known[inc.ID] = true
			history := crowd(t, engines, inc.ID, dice)
			switch res := porcupine.CheckOperationsTimeout(incidentModel, history, 30*time.Second); res {
			case porcupine.Illegal:
				if broken++; broken == 1 {
					for _, op := range history {
						t.Logf("%8d to %8d ns: %+v -> %+v", op.Call, op.Return, op.Input, op.Output)
					}
				}
			case porcupine.Unknown:
				t.Error("a history could not be checked in time")
			case porcupine.Ok:
			}
		}
	}
	return broken
}

// What people at several processes are told of acknowledging, escalating and
// resolving is as if one had pressed after the other.
func TestPressesAreLinearizable(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) []store.Store{
		"mem": func(*testing.T) []store.Store { st := mem.New(); return []store.Store{st.Open(), st.Open(), st.Open()} },
		"bolt": func(t *testing.T) []store.Store {
			st, err := bolt.Open(filepath.Join(t.TempDir(), "callchain.db"), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = st.Close() })
			return []store.Store{st, st, st}
		},
		"redis": func(t *testing.T) []store.Store {
			addr := testbench.StartRedis(t).Addr
			return []store.Store{openRedis(t, addr, "lin"), openRedis(t, addr, "lin"), openRedis(t, addr, "lin")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if broken := linearizable(t, open(t), 20); broken > 0 {
				t.Errorf("%d of 20 incidents told people what cannot be", broken)
			}
		})
	}
}

// reckless is a store that does not compare versions: the last one to write wins.
type reckless struct{ store.Store }

func (r reckless) Commit(ctx context.Context, txn store.Txn) error {
	for {
		err := r.Store.Commit(ctx, txn)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		for i, w := range txn.Writes {
			recs, err := r.Load(ctx, txn.Partition, w.ID)
			if err != nil {
				return err
			}
			txn.Writes[i].Expect = recs[0].Version
		}
	}
}

// Without the comparison the check fails: else it would show nothing.
func TestRecklessPressesAreNot(t *testing.T) {
	t.Parallel()
	st := mem.New()
	var stores []store.Store
	for range 3 {
		slow := st.Open()
		slow.Inject(func(string) (bool, error) { time.Sleep(rand.N(time.Millisecond)); return false, nil })
		stores = append(stores, reckless{slow})
	}
	if broken := linearizable(t, stores, 10); broken == 0 {
		t.Error("nobody was told anything wrong although everybody overwrites everybody")
	}
}

