package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/store/mem"
	"callchain/notifiers"
	"callchain/routing"
)

// daemon is a place where one process after the other runs.
type daemon struct {
	w       *world
	name    string
	starts  int
	catalog int      // which of catalogs is on its disk
	process *process // nil while none runs
	disk    disk
}

// process is one life of a daemon. What it does to the world outside goes through
// its store and its channels, which know whether it still lives.
type process struct {
	w      *world
	d      string // the daemon's name
	id     string // d1.3: the third life of d1
	engine *engine.Engine
	ctx    context.Context
	cancel context.CancelFunc
	killed chan struct{}
	ended  sync.WaitGroup // its loops

	// Under w.mu.
	dead     bool
	deaf     bool            // it stops: it takes no requests any more
	drained  bool            // it has ended in good order
	diedAt   time.Time       // zero while it lives
	resumes  time.Time       // stopped until then, as by SIGSTOP
	losses   []time.Time     // calls of its store that failed
	refusals []time.Time     // what its journal did not take
	stalls   []span          // when it, or one of its attempts, did not run
	looks    map[string]look // the last look at each incident
	paused   map[string]span // the pause before a unit of work
}

// look is a read of an incident, as it came back.
type look struct {
	returned time.Time
	of       *history
	version  int // index in its history; -1: there was none
}

var (
	errKilled  = errors.New("the process was killed")
	errRefused = errors.New("connection refused")
)

// start begins a life. w.mu is not held.
func (d *daemon) start() {
	w := d.w
	all, err := snapshots()
	if err != nil {
		w.t.Error(err)
		return
	}
	p := &process{w: w, d: d.name, killed: make(chan struct{}), looks: map[string]look{}, paused: map[string]span{}}
	w.mu.Lock()
	for { // a start needs the store: it must know whose it is
		o, away := w.gone(p, -1)
		if !away || w.over.Err() != nil {
			break
		}
		w.mu.Unlock()
		time.Sleep(o.to.Sub(w.now()) + time.Duration(1234*(1+len(d.name)))*time.Microsecond + time.Duration(d.starts))
		w.mu.Lock()
	}
	d.starts++
	p.id = fmt.Sprintf("%s.%d", d.name, d.starts)
	disk := d.catalog
	w.mu.Unlock()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	cfg := engine.Config{
		Store: &link{p}, Registerer: prometheus.NewRegistry(), Begin: p.begin,
		Logger: slog.New(slog.DiscardHandler), WitnessEvery: askEvery,
	}
	if w.alone {
		cfg.Store = exclusive{&link{p}}
	}
	if w.island {
		cfg.Island = &engine.Island{Journal: &drive{p, &d.disk}, Scratch: &beach{mem.New(), p}}
	}
	p.engine = engine.New(cfg, p.snapshot(all[disk]))
	p.ended.Go(func() { _ = p.engine.Run(p.ctx) })
	p.ended.Go(func() { _ = p.engine.RunProbes(p.ctx) })
	if w.island {
		p.ended.Go(func() { _ = p.engine.RunGauges(p.ctx) })
	}
	if w.rots {
		p.ended.Go(func() { _ = p.engine.RunAudit(p.ctx) })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running() == nil {
		w.disturb("", w.nobody, w.now())
	}
	d.process = p
	w.disturb("", w.now(), w.now())
	w.event("%s starts with catalog %d", p.id, disk)
}

// running is some process that runs, nil if there is none. w.mu is held.
func (w *world) running() *process {
	for _, d := range w.daemons {
		if d.process != nil {
			return d.process
		}
	}
	return nil
}

func (w *world) now() time.Time { return time.Now() }

// snapshot is a configuration with this process's own ends of the channels.
func (p *process) snapshot(s *engine.Snapshot) *engine.Snapshot {
	mine := *s
	mine.Channels = map[string]engine.Channel{}
	for name, ch := range p.w.channels {
		mine.Channels[name] = &line{p, ch}
	}
	if p.w.witness {
		mine.Witnesses = map[string]engine.Witness{"main": &sight{p}}
	}
	return &mine
}

// kill ends a process as kill -9 does: from now on it does nothing.
func (d *daemon) kill() {
	w := d.w
	w.mu.Lock()
	p := d.process
	if p == nil || p.deaf {
		w.mu.Unlock()
		return
	}
	d.process = nil
	p.dead, p.diedAt = true, w.now()
	w.count.kills++
	w.disturb("", w.now(), w.now())
	w.nobody = w.now()
	machine := w.dice("crash", p.id).IntN(3) == 0
	d.disk.crash(machine)
	w.leave(func(_ string, o *owed) bool { return o.ashore == p })
	w.event("%s is killed, its machine too: %v", p.id, machine)
	w.mu.Unlock()
	close(p.killed)
	p.cancel()
}

// strike kills a process now and then just when it is doing something.
func (w *world) strike(r *rand.Rand, p *process, within time.Duration) {
	if !w.faults || r.IntN(40) != 0 || time.Since(w.began) > w.troubled {
		return
	}
	soon, down := between(r, time.Microsecond, within), between(r, 500*time.Millisecond, 15*time.Second)
	w.work.Go(func() {
		time.Sleep(soon)
		w.mu.Lock()
		d := w.daemons[slices.IndexFunc(w.daemons, func(d *daemon) bool { return d.name == p.d })]
		alive := d.process == p && !p.deaf
		w.mu.Unlock()
		if alive {
			d.kill()
			time.Sleep(down)
			d.start()
		}
	})
}

// stop ends a process as SIGTERM does.
func (d *daemon) stop() {
	w := d.w
	w.mu.Lock()
	p := d.process
	if p == nil || p.deaf {
		w.mu.Unlock()
		return
	}
	p.deaf = true
	w.count.stops++
	w.event("%s is told to stop", p.id)
	asked := w.now()
	w.mu.Unlock()
	p.cancel()
	p.ended.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	d.process = nil
	p.dead, p.drained, p.diedAt = true, true, w.now()
	d.disk.crash(false)
	w.leave(func(_ string, o *owed) bool { return o.ashore == p })
	close(p.killed)
	w.disturb("", asked, w.now())
	w.nobody = w.now()
	w.event("%s has stopped", p.id)
	if took := w.now().Sub(asked); took > 10*time.Second && !p.resumes.After(asked) && !w.stalled(p, asked, w.now()) {
		w.violate("I27", "%s took %v to stop", p.id, took)
	}
}

// freeze stops a process for a while as SIGSTOP does: what it was about to do it
// does when it goes on.
func (d *daemon) freeze(length time.Duration) {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	p := d.process
	if p == nil {
		return
	}
	p.resumes = w.now().Add(length)
	w.count.freezes++
	p.stalls = append(p.stalls, span{w.now(), p.resumes})
	w.disturb("", w.now(), p.resumes)
	w.event("%s stands still for %v", p.id, length)
}

// reload puts another catalog in force, as SIGHUP does.
func (d *daemon) reload(catalog int) {
	w := d.w
	all, err := snapshots()
	if err != nil {
		return
	}
	w.mu.Lock()
	d.catalog = catalog
	p := d.process
	w.count.reloads++
	w.event("%s gets catalog %d", d.name, catalog)
	w.mu.Unlock()
	if p == nil {
		return
	}
	snap := p.snapshot(all[catalog])
	w.mutateSnapshot(snap)
	p.engine.Reload(snap)
	w.checkReload(snap)
}

// begin is where each unit of the engine's work begins: at another instant each,
// and now and then much later, as when the machine is out of breath just between
// a commit and the message that it allows.
func (p *process) begin(work string) {
	w := p.w
	r := w.dice("begin", p.id, w.ns(), work)
	d, from := between(r, time.Microsecond, 2*time.Millisecond), w.now()
	w.mu.Lock()
	if w.troubledNow() && r.IntN(8) == 0 {
		d = between(r, 100*time.Millisecond, 7*time.Second)
		if r.IntN(3) == 0 {
			d *= 3
		}
		w.disturb("", w.now(), w.now().Add(d))
		p.stalls = append(p.stalls, span{w.now(), w.now().Add(d)})
	}
	w.mu.Unlock()
	_ = p.wait(context.Background(), d)
	w.mu.Lock()
	p.paused[work] = span{from, w.now()}
	w.mu.Unlock()
}

// wait lets time pass for one thing that a process does. An error tells that the
// process is dead or that ctx is over.
func (p *process) wait(ctx context.Context, d time.Duration) error {
	r := p.w.dice("wait", p.id, p.w.ns(), uint64(d))
	for {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.killed:
			timer.Stop()
			return errKilled
		}
		p.w.mu.Lock()
		left := time.Until(p.resumes)
		p.w.mu.Unlock()
		if left <= 0 {
			return nil
		}
		d = left + between(r, time.Microsecond, 5*time.Millisecond)
	}
}

func (p *process) alive() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return !p.dead
}

// troubledNow tells whether things may go wrong at random now. w.mu is held.
func (w *world) troubledNow() bool {
	return w.faults && w.loud > 0
}

// up is a process that takes requests, or nil if the one that was asked does not.
func (w *world) up(n int) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.daemons[n%len(w.daemons)].process
	if p == nil || p.deaf {
		return nil
	}
	return p
}

// webhook is a request of an Alertmanager: nil is 200.
func (p *process) webhook(wh routing.Webhook) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r := p.w.dice("request", p.id, p.w.ns())
	if err := p.wait(ctx, between(r, 100*time.Microsecond, 3*time.Millisecond)); err != nil {
		return err
	}
	p.w.strike(r, p, 6*time.Millisecond)
	wh, skip := p.w.mutateWebhook(wh)
	if !skip {
		if err := p.engine.Webhook(ctx, "main", wh); err != nil {
			return err
		}
	}
	if !p.alive() {
		return errKilled
	}
	return nil
}

// press is somebody's action on an incident.
func (p *process) press(id string, ev escalation.Event) (escalation.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	r := p.w.dice("press", p.id, p.w.ns())
	if err := p.wait(ctx, between(r, 100*time.Microsecond, 3*time.Millisecond)); err != nil {
		return escalation.Answer{}, err
	}
	p.w.strike(r, p, 6*time.Millisecond)
	_, answer, err := p.engine.Do(ctx, id, ev)
	if err == nil && !p.alive() {
		err = errKilled
	}
	return answer, err
}

var _ engine.Channel = (*line)(nil)

// line is a process's end of a channel.
type line struct {
	p        *process
	provider *provider
}

// Probe implements engine.Channel.
func (l *line) Probe(ctx context.Context) error {
	p, w := l.p, l.p.w
	r := w.dice("probe", p.id, w.ns(), l.provider.name)
	if err := p.wait(ctx, between(r, 10*time.Millisecond, 300*time.Millisecond)); err != nil {
		return err
	}
	w.mu.Lock()
	_, away := in(l.provider.outages, w.now())
	w.mu.Unlock()
	if away {
		return errRefused
	}
	return nil
}

// Deliver implements engine.Channel.
func (l *line) Deliver(ctx context.Context, msg notifiers.Message) notifiers.Result {
	p, w, name := l.p, l.p.w, l.provider.name
	attempt := w.attempting(p, name, msg)
	if attempt == nil {
		return notifiers.Result{Verdict: notifiers.Retry, Err: errKilled}
	}
	res := l.deliver(ctx, msg, attempt)
	res = w.mutateResult(res)
	w.attempted(attempt, res)
	return res
}

func (l *line) deliver(ctx context.Context, msg notifiers.Message, a *attempt) notifiers.Result {
	p, w, v := l.p, l.p.w, l.provider
	r := w.dice("deliver", p.id, w.ns(), v.name, msg.ID, msg.Attempt)
	w.mu.Lock()
	loud := 0.0
	if w.troubledNow() {
		loud = w.loud
	}
	w.mu.Unlock()
	if r.Float64() < loud/2 {
		// The process stands still between its look and the first byte: not even
		// its own clock stops it from sending late.
		stall := between(r, 100*time.Millisecond, 15*time.Second)
		w.mu.Lock()
		w.disturb("", w.now(), w.now().Add(stall))
		p.stalls = append(p.stalls, span{w.now(), w.now().Add(stall)})
		w.mu.Unlock()
		if p.wait(context.Background(), stall) != nil {
			return notifiers.Result{Verdict: notifiers.Ambiguous, Err: errKilled}
		}
	}
	w.strike(r, p, 500*time.Millisecond)
	// What is on its way when the process dies arrives half of the time.
	ghost := r.IntN(2) == 0
	before, after := between(r, 20*time.Millisecond, 400*time.Millisecond), between(r, 10*time.Millisecond, 200*time.Millisecond)
	if v.name == "email" && r.IntN(50) == 0 {
		after += between(r, time.Second, 30*time.Second) // a smarthost that takes its time over the last dot
	}
	if err := p.wait(ctx, before); errors.Is(err, errKilled) && ghost {
		time.Sleep(before / 7)
	} else if err != nil {
		w.ill(v.name, 0)
		return notifiers.Result{Verdict: notifiers.Ambiguous, Err: err}
	}
	res, hang := v.answer(r, p, msg, a, loud)
	if hang {
		_ = p.wait(ctx, time.Hour)
		return res
	}
	if err := p.wait(ctx, after); err != nil {
		w.ill(v.name, 0)
		return notifiers.Result{Verdict: notifiers.Ambiguous, Err: err}
	}
	return res
}

// ill notes that a channel failed at something.
func (w *world) ill(channel string, length time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disturb(channel, w.now(), w.now().Add(length))
}
