package escalation

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However many processes spend, each by what it knows: no more goes out within a
// time than the rate and one burst for each of them; what is more important always
// finds its reserve; and whoever waits as told may go.
func TestAllowance(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := Rate{Every: time.Duration(rapid.IntRange(1, 3000).Draw(rt, "every")) * time.Millisecond, Burst: rapid.IntRange(1, 40).Draw(rt, "burst")}
		processes := rapid.IntRange(1, 4).Draw(rt, "processes")
		var shared Allowance
		known, own := make([]Allowance, processes), make([]int, processes)
		now := At(epoch)
		var sent []Instant
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			now += Instant(rapid.IntRange(0, 2000).Draw(rt, "pass"))
			p := rapid.IntRange(0, processes-1).Draw(rt, "process")
			if rapid.Bool().Draw(rt, "tells") {
				shared = shared.Tidy(now).Spend("b", r, own[p], now)
				known[p], own[p] = shared, 0
				continue
			}
			reserve := rapid.IntRange(0, r.Burst-1).Draw(rt, "reserve")
			wait := known[p].Wait("b", r, reserve, now)
			if most := known[p].Wait("b", r, 0, now); most > wait {
				rt.Fatal("what is more important waits longer")
			}
			if wait > 0 {
				if known[p].Wait("b", r, reserve, now+Instant((wait+time.Millisecond-1)/time.Millisecond)) > 0 {
					rt.Fatal("who waited as told has to wait on")
				}
				continue
			}
			known[p] = known[p].Spend("b", r, 1, now)
			own[p]++
			sent = append(sent, now)
			for i := range sent {
				n := len(sent) - i
				if most := processes*r.Burst + processes*int(time.Duration(now-sent[i])*time.Millisecond/r.Every) + processes; n > most {
					rt.Fatalf("%d within %d ms; want at most %d", n, now-sent[i], most)
				}
			}
		}
	})
}

// What one process was told about waiting holds for all, and ends by itself.
func TestAllowanceHolds(t *testing.T) {
	now := At(epoch)
	r := Rate{Every: time.Second, Burst: 3}
	a := Allowance{}.Hold("edits", now.plus(30*time.Second)).Hold("edits", now.plus(10*time.Second))
	if wait := a.Wait("edits", r, 0, now); wait != 30*time.Second {
		t.Errorf("waits %v", wait)
	}
	if wait := a.Wait("posts", r, 0, now); wait != 0 {
		t.Errorf("another bucket waits %v", wait)
	}
	if a = a.Tidy(now.plus(time.Minute)); len(a.Holds)+len(a.Full) != 0 {
		t.Errorf("left: %+v", a)
	}
	for i := range 3 {
		if wait := a.Wait("posts", r, 0, now); wait != 0 {
			t.Errorf("message %d of a burst waits %v", i, wait)
		}
		a = a.Spend("posts", r, 1, now)
	}
	if got := fmt.Sprint(a.Wait("posts", r, 0, now), a.Wait("posts", r, 1, now)); got != "1s 2s" {
		t.Errorf("after a burst: %s", got)
	}
}
