package bench

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cost is what was spent so far. Unlike a rate it hardly depends on what else
// the machine does.
type cost struct {
	own     time.Duration // processor time of this process: callchain and its clients
	redis   time.Duration // of the server; 0: embedded
	reads   float64       // HMGET that were asked for by themselves
	scripts float64
	objects float64 // that were allocated
	bytes   float64
}

func spent(b *testing.B, st opened) cost {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c := cost{own: time.Duration(u.Utime.Nano() + u.Stime.Nano()), objects: float64(m.Mallocs), bytes: float64(m.TotalAlloc)}
	if st.redis == nil {
		return c
	}
	info := func(section string) map[string]string {
		text, _ := st.redis.Call(b, "INFO", section).(string)
		found := map[string]string{}
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			found[name] = value
		}
		return found
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	cpu := info("cpu")
	c.redis = time.Duration(float64(time.Second) * (number(cpu["used_cpu_user"]) + number(cpu["used_cpu_sys"])))
	calls := func(command string) float64 {
		n, _, _ := strings.Cut(strings.TrimPrefix(info("commandstats")["cmdstat_"+command], "calls="), ",")
		if n == "" {
			return 0
		}
		return number(n)
	}
	c.scripts = calls("evalsha") + calls("eval")
	c.reads = calls("hmget") - c.scripts // each of ours has one
	return c
}

// reportCost reports what each of n webhooks cost.
func reportCost(b *testing.B, st opened, before, after cost, n int) {
	b.Helper()
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
	b.ReportMetric(each(after.own-before.own), "own-cpu-µs")
	b.ReportMetric((after.objects-before.objects)/float64(n), "allocs")
	b.ReportMetric((after.bytes-before.bytes)/float64(n)/1000, "alloc-kB")
	if st.redis != nil {
		b.ReportMetric(each(after.redis-before.redis), "redis-cpu-µs")
		b.ReportMetric((after.reads-before.reads)/float64(n), "reads")
		b.ReportMetric((after.scripts-before.scripts)/float64(n), "scripts")
	}
}
