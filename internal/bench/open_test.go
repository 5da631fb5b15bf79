package bench

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"callchain/config"
	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/escalation/record"
	"callchain/escalation/store"
	"callchain/escalation/store/mem"
	"callchain/internal/testbench"
	"callchain/notifiers"
	"callchain/routing"
)

// services of the organisation that many open incidents belong to.
const services = 2000

// pattern is an open incident as it is while its page waits for an answer, and
// its group: what an engine made of a webhook, with everything delivered.
type pattern struct {
	incident escalation.Incident
	group    escalation.Group
}

// made is what patterns returned before.
var made []pattern

// patterns lets an engine page for one alert of each service.
func patterns(b *testing.B) []pattern {
	b.Helper()
	if made != nil {
		return made
	}
	st := mem.New()
	b.Cleanup(func() { st.Close() })
	e := run(b, st, snapshot(b, services, nil))
	for i := range services {
		w, err := routing.Decode(payload(i, i, 1))
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Webhook(b.Context(), "main", w); err != nil {
			b.Fatal(err)
		}
	}
	var list []pattern
	defer func() { made = list }()
	testbench.Eventually(b, 30*time.Second, "every page to be delivered", func() bool {
		list = list[:0]
		groups := map[string]escalation.Group{}
		err := st.Scan(b.Context(), "g/", func(r store.Record) bool {
			var g escalation.Group
			if err := record.Decode(r.Data, &g); err != nil {
				b.Fatal(err)
			}
			groups[g.ID] = g
			return true
		})
		if err != nil {
			b.Fatal(err)
		}
		settled := true
		err = st.Scan(b.Context(), "i/", func(r store.Record) bool {
			var p pattern
			if err := record.Decode(r.Data, &p.incident); err != nil {
				b.Fatal(err)
			}
			for _, d := range p.incident.Deliveries {
				settled = settled && d.Status == escalation.Sent
			}
			p.group = groups[p.incident.Group]
			list = append(list, p)
			return settled
		})
		if err != nil {
			b.Fatal(err)
		}
		return settled && len(list) == services
	})
	return list
}

// named is the group of incident i of those that fill makes.
func named(i int) (labels map[string]string, gid string, partition uint8) {
	labels = map[string]string{"alertname": "HighErrorRate", "cluster": fmt.Sprint("o", i)}
	gid, partition = escalation.GroupID("main", labels)
	return labels, gid, partition
}

// name is the id of incident i.
func name(i int) string {
	_, _, p := named(i)
	return fmt.Sprintf("%02x-%010d", p, i)
}

// fill commits open incidents first to n-1 with their groups, straight into the
// store: copies of patterns under other names, with the deadlines that are asked
// for. It returns the bytes of all records.
func fill(b *testing.B, st store.Store, first, n int, of func(i int) pattern, deadline func(i int) time.Time) (size int) {
	b.Helper()
	byPartition := map[uint8][]store.Write{}
	flush := func(p uint8) {
		txn := store.Txn{Partition: p, Writes: byPartition[p]}
		for i := range txn.Mark {
			txn.Mark[i] = byte(rand.Uint32())
		}
		if err := st.Commit(b.Context(), txn); err != nil {
			b.Fatal(err)
		}
		delete(byPartition, p)
	}
	add := func(p uint8, id string, v any, wake escalation.Instant) {
		data, err := record.Encode(v)
		if err != nil {
			b.Fatal(err)
		}
		size += len(data)
		byPartition[p] = append(byPartition[p], store.Write{ID: id, Data: data, Wake: wake.Time()})
	}
	for i := first; i < n; i++ {
		inc, g := of(i).incident, of(i).group
		labels, gid, p := named(i)
		inc.ID = name(i)
		inc.Group, inc.GroupLabels = gid, labels
		inc.Deadline = escalation.At(deadline(i))
		inc.RemindAt = 0
		g.ID, g.Labels, g.Incidents = gid, labels, []string{inc.ID}
		add(p, "i/"+inc.ID, &inc, inc.Wake())
		add(p, "g/"+gid, &g, g.Wake())
		if len(byPartition[p]) >= 400 {
			flush(p)
		}
	}
	for p := range byPartition {
		flush(p)
	}
	return size
}

// BenchmarkLateness measures how long after its deadline the next person of an
// incident is paged, with many incidents open: for ten seconds 100 of them are
// due each second, each of another service, while all others wait. So it is
// when 100,000 incidents escalate every 17 minutes.
func BenchmarkLateness(b *testing.B) {
	const (
		perSecond = 100
		due       = 10 * perSecond
	)
	list := patterns(b)
	for _, s := range stores {
		for _, n := range []int{10_000, 100_000} {
			b.Run(fmt.Sprintf("%s/incidents=%d", s.name, n), func(b *testing.B) {
				var late []time.Duration
				for b.Loop() {
					late = lateness(b, s.open(b), list, n, due, time.Second/perSecond)
				}
				b.ReportMetric(quantile(late, 0.50), "p50-ms")
				b.ReportMetric(quantile(late, 0.99), "p99-ms")
				b.ReportMetric(quantile(late, 1), "max-ms")
				drop(b)
			})
		}
	}
}

func lateness(b *testing.B, st opened, list []pattern, n, due int, every time.Duration) []time.Duration {
	// First what waits, then what is due soon, when it is known how long that takes.
	deadlines := map[string]time.Time{}
	from := time.Now()
	fill(b, st, due, n, func(i int) pattern { return list[i%len(list)] }, func(i int) time.Time {
		return st.Now().Add(time.Hour)
	})
	// Meanwhile the engine looks through all of them, as it does at every start.
	begin := st.Now().Add(3*time.Second + 2*time.Since(from)).Truncate(time.Millisecond)
	fill(b, st, 0, due, func(i int) pattern { return list[i] }, func(i int) time.Time {
		at := begin.Add(time.Duration(i) * every)
		deadlines[name(i)] = at
		return at
	})

	var mu sync.Mutex
	paged := map[string]time.Duration{}
	page := free{func(m notifiers.Message) {
		now := st.Now()
		if m.Kind != notifiers.Page || m.Edit {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if _, again := paged[m.Incident.ID]; !again {
			paged[m.Incident.ID] = now.Sub(deadlines[m.Incident.ID])
		}
	}}
	run(b, st, snapshot(b, services, map[string]engine.Channel{notifiers.Slack: page}))
	ends := begin.Add(time.Duration(due)*every + 15*time.Second)
	for st.Now().Before(ends) {
		time.Sleep(100 * time.Millisecond)
		mu.Lock()
		all := len(paged) == due
		mu.Unlock()
		if all {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(paged) != due {
		b.Fatalf("%d of %d next steps were taken", len(paged), due)
	}
	var late []time.Duration
	for id, d := range paged {
		if _, known := deadlines[id]; !known {
			b.Fatalf("%s was not due", id)
		}
		late = append(late, d)
	}
	return late
}

// BenchmarkMemory measures what an open incident with one alert costs in Redis,
// its group and its timer included.
func BenchmarkMemory(b *testing.B) {
	const n = 20_000
	list := patterns(b)
	b.ResetTimer()
	for b.Loop() {
		st := openRedis(b)
		used := func() float64 {
			v, err := strconv.ParseFloat(st.redis.Info(b, "memory", "used_memory"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return v
		}
		before := used()
		size := fill(b, st, 0, n, func(i int) pattern { return list[i%len(list)] }, func(int) time.Time { return st.Now().Add(time.Hour) })
		b.ReportMetric((used()-before)/n, "B/incident")
		b.ReportMetric(float64(size)/n, "recordB/incident")
	}
	drop(b)
}

// BenchmarkStart starts the daemon on a store with open incidents, none of them
// due: how long until it is ready, and what is resident when it has been up for
// three seconds; in all, and without files that are mapped (its binary and the
// embedded store), whose pages the kernel takes back when it needs them. Without
// incidents it has the catalog of a small organisation: the idle daemon.
func BenchmarkStart(b *testing.B) {
	testbench.Binary(b)
	list := patterns(b)
	for _, s := range stores {
		for _, n := range []int{0, 20_000, 100_000} {
			b.Run(fmt.Sprintf("%s/incidents=%d", s.name, n), func(b *testing.B) {
				for b.Loop() {
					ready, rss, own := startDaemon(b, s.open(b), list, n)
					b.ReportMetric(ready.Seconds()*1000, "ready-ms")
					b.ReportMetric(rss, "rss-MB")
					b.ReportMetric(own, "own-MB")
				}
				drop(b)
			})
		}
	}
}

func startDaemon(b *testing.B, st opened, list []pattern, n int) (ready time.Duration, rss, own float64) {
	b.Helper()
	fill(b, st, 0, n, func(i int) pattern { return list[i%len(list)] }, func(int) time.Time { return st.Now().Add(time.Hour) })
	if err := st.Close(); err != nil { // an embedded store has one process at a time
		b.Fatal(err)
	}
	size := services
	if n == 0 {
		size = 16
	}
	file := organisation(b, size, "http://127.0.0.1:1/")
	where := "{type: embedded, path: " + strconv.Quote(st.path) + "}"
	if st.redis != nil {
		where = "{type: redis, path: " + strconv.Quote(filepath.Join(filepath.Dir(file), "data")) + ", redis: {addrs: [" + strconv.Quote(st.redis.Addr) + "]}}"
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, append(text, "store: "+where+"\n"...), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	if _, ps := config.Load(file, config.Options{}); ps.Err() != nil {
		b.Fatal(ps.Err())
	}
	begin := time.Now()
	c := testbench.StartCallchain(b, "--config.file="+file, "--log.level=error")
	ready = time.Since(begin)
	time.Sleep(3 * time.Second)
	rss, own = resident(b, c.Pid(), "VmRSS"), resident(b, c.Pid(), "RssAnon")
	if status := c.Terminate(b, 10*time.Second); status != 0 {
		b.Fatalf("the daemon ended with status %d", status)
	}
	return ready, rss, own
}

// resident is a field of what the kernel says of a process's memory, in MB.
func resident(b *testing.B, pid int, field string) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if kB, ok := strings.CutPrefix(line, field+":"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kB), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return v / 1000
		}
	}
	b.Fatalf("the kernel does not tell %s", field)
	return 0
}
