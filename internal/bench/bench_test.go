package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/escalation/store"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/redis"
	"callchain/internal/server"
	"callchain/internal/testbench"
	"callchain/notifiers"
	"callchain/routing"
	"callchain/routing/catalog"
)

// stores are what callchain keeps its records in, as people run them.
var stores = []struct {
	name        string
	connections int // that the target speaks of
	open        func(b *testing.B) opened
}{
	{"redis", 32, openRedis},
	{"bolt", 64, openBolt},
}

// opened is a new store, and how fast the machine is at what it is built on.
type opened struct {
	store.Store
	redis *testbench.Redis // nil: embedded
	path  string           // of an embedded one
	// raw is durable writes of one record a second: redis-benchmark running a
	// script of three writes over as many connections, or appends with fdatasync
	// one after the other.
	raw func(connections int) float64
}

// recordSize is about that of an incident.
const recordSize = 1200

func openRedis(b *testing.B) opened {
	r := testbench.StartRedis(b, "--appendonly", "yes", "--appendfsync", "everysec", "--logfile", "redis.log")
	s, err := redis.Open(b.Context(), redis.Options{Addrs: []string{r.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	// The bases go to a server of their own: they must not fill this one.
	base := testbench.StartRedis(b, "--appendonly", "yes", "--appendfsync", "everysec", "--logfile", "redis.log")
	return opened{Store: s, redis: r, raw: func(connections int) float64 { return base.Benchmark(b, connections, recordSize) }}
}

func openBolt(b *testing.B) opened {
	dir := b.TempDir()
	path := filepath.Join(dir, "callchain.db")
	s, err := bolt.Open(path, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return opened{Store: s, path: path, raw: func(int) float64 {
		return float64(time.Second) / float64(testbench.RawSync(b, dir, recordSize))
	}}
}

// token is every secret of an organisation.
const token = "0123456789abcdef0123456789abcdef0123456789abcdef"

// organisation writes a configuration and a catalog of n services into a folder
// and returns the configuration's path. Each service has a team of its own with
// a person on call and a manager: how fast one person's conversation may be used
// is not what is measured.
func organisation(b *testing.B, n int, slackURL string) string {
	b.Helper()
	dir := b.TempDir()
	var people, teams, services strings.Builder
	for i := range n {
		fmt.Fprintf(&people, "  - {name: p%d, email: p%[1]d@example.org, slack: U0P%[1]d}\n  - {name: m%[1]d, email: m%[1]d@example.org, slack: U0M%[1]d}\n", i)
		fmt.Fprintf(&teams, "  - {name: t%d, members: [p%[1]d], manager: m%[1]d, slack_channel: \"#t%[1]d\"}\n", i)
		fmt.Fprintf(&services, "  - {name: s%d, state: third_party, owners: t%[1]d, runbook: \"https://runbooks.example.org/s%[1]d\"}\n", i)
	}
	for name, text := range map[string]string{
		"callchain.yml": `external_url: https://callchain.example.org
catalog_files: [catalog.yml]
alertmanager: {sources: [{name: main, anonymous: true}]}
routing: {fallback_team: t0}
notifiers:
  slack: {api_url: "` + slackURL + `", bot_token_file: token, signing_secret_file: token, channel: "#incidents"}
  email: {smarthost: "127.0.0.1:1", from: callchain@example.org, require_tls: false, link_key_file: token}
api: {tokens: [{name: bench, token_file: token, scopes: [respond]}]}
`,
		"catalog.yml": "people:\n" + people.String() + "teams:\n" + teams.String() + "services:\n" + services.String(),
		"token":       token,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return filepath.Join(dir, "callchain.yml")
}

// snapshot is an organisation in force. Channels that are nil cost nothing.
func snapshot(b *testing.B, n int, channels map[string]engine.Channel) *engine.Snapshot {
	b.Helper()
	cfg, ps := config.Load(organisation(b, n, "http://127.0.0.1:1/"), config.Options{NoSecrets: true})
	files, more := config.LoadCatalog(cfg.CatalogFiles)
	ps = append(ps, more...)
	cat, more := catalog.New(files)
	ps = append(ps, more...)
	if err := ps.Err(); err != nil {
		b.Fatal(err)
	}
	router, ps := routing.New(cfg, cat)
	if err := ps.Err(); err != nil {
		b.Fatal(err)
	}
	all := map[string]engine.Channel{notifiers.Slack: free{}, notifiers.Email: free{}}
	for name, ch := range channels {
		all[name] = ch
	}
	return &engine.Snapshot{Config: cfg, Catalog: cat, Router: router, Channels: all,
		Link: func(incident, person string, _ time.Time) string {
			return "https://callchain.example.org/ack/" + incident + "." + person
		}}
}

// free is a channel that costs nothing. sent is told of every message; nil: nobody.
type free struct{ sent func(notifiers.Message) }

func (f free) Deliver(_ context.Context, m notifiers.Message) notifiers.Result {
	if f.sent != nil {
		f.sent(m)
	}
	return notifiers.Result{Ref: notifiers.Ref{Channel: "C" + m.Address, TS: "1795165200.000100"}}
}
func (free) Probe(context.Context) error { return nil }

// run starts an engine with all its loops, as the daemon does.
func run(b *testing.B, st store.Store, snap *engine.Snapshot) *engine.Engine {
	b.Helper()
	e := engine.New(engine.Config{Store: st, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)}, snap)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	for _, f := range []func(context.Context) error{e.Run, e.RunGauges, e.RunProbes} {
		loops.Go(func() { _ = f(ctx) }) // they end with their context
	}
	b.Cleanup(func() { cancel(); loops.Wait() })
	return e
}

// serve listens on loopback as the daemon does and returns the address.
func serve(b *testing.B, h http.Handler) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := server.NewDoor(h, slog.New(slog.DiscardHandler))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(s.Bound(l)) }()
	b.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// door is the server's handler in front of an engine.
func door(e *engine.Engine) http.Handler {
	return server.New(server.Deps{Engine: e, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Version: "bench"}).Private
}

// client is one keep-alive connection that sends webhooks: no more than that,
// because it works on the same processors as what it measures.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	out  bytes.Buffer
	body bytes.Buffer
}

func dial(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReader(conn)}, nil
}

// post sends webhook n, of some new alerts of a service, and returns when its
// last byte was written and what it took to be answered.
func (c *client) post(n, service, alerts int) (sent time.Time, took time.Duration, err error) {
	c.body.Reset()
	webhook(&c.body, n, service, alerts)
	c.out.Reset()
	fmt.Fprintf(&c.out, "POST /api/v1/webhook/alertmanager/main HTTP/1.1\r\nHost: callchain\r\nContent-Type: application/json\r\nUser-Agent: Alertmanager/0.31.1\r\nContent-Length: %d\r\n\r\n", c.body.Len())
	c.out.Write(c.body.Bytes())
	begin := time.Now()
	if _, err := c.conn.Write(c.out.Bytes()); err != nil {
		return sent, 0, err
	}
	sent = time.Now()
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return sent, 0, err
	}
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return sent, time.Since(begin), err
}

// webhook writes Alertmanager's payload for a group of new alerts: about 1 kB
// for the first and 0.7 kB for each further one.
func webhook(w *bytes.Buffer, n, service, alerts int) {
	fmt.Fprintf(w, `{"receiver":"callchain","status":"firing","alerts":[`)
	for i := range alerts {
		if i > 0 {
			w.WriteByte(',')
		}
		fmt.Fprintf(w, `{"status":"firing","labels":{"alertname":"HighErrorRate","cluster":"c%d","instance":"host%d.example.org:9100","job":"node","prometheus":"k8s","service":"s%d","severity":"page","site":"eqiad"},`+
			`"annotations":{"description":"More than 5%% of the requests to this instance were answered with an error during the last five minutes.","summary":"errors on host%[2]d","dashboard":"https://grafana.example.org/d/000000377/errors?var-instance=host%[2]d"},`+
			`"startsAt":"2026-11-20T09:00:00.000Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example.org/graph?g0.expr=rate%%28errors_total%%5B5m%%5D%%29+%%3E+0.05&g0.tab=1","fingerprint":"%016[4]x"}`, n, i, service, n<<10+i)
	}
	fmt.Fprintf(w, `],"groupLabels":{"alertname":"HighErrorRate","cluster":"c%d"},"commonLabels":{"alertname":"HighErrorRate","cluster":"c%[1]d","job":"node","prometheus":"k8s","service":"s%d","severity":"page","site":"eqiad"},`+
		`"commonAnnotations":{},"externalURL":"http://alertmanager.example.org:9093","version":"4","groupKey":"{}:{alertname=\"HighErrorRate\", cluster=\"c%[1]d\"}","truncatedAlerts":0}`+"\n", n, service)
}

// payload is a webhook by itself.
func payload(n, service, alerts int) []byte {
	var w bytes.Buffer
	webhook(&w, n, service, alerts)
	return w.Bytes()
}

// flood posts new webhooks over connections for a while and returns how many
// were answered a second, and how long each took.
func flood(b *testing.B, addr string, connections, alerts, services int, d time.Duration, n *atomic.Int64) (rate float64, took []time.Duration) {
	b.Helper()
	var wg sync.WaitGroup
	each := make([][]time.Duration, connections)
	errs := make([]error, connections)
	begin := time.Now()
	for i := range connections {
		wg.Go(func() {
			c, err := dial(addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.conn.Close()
			for time.Since(begin) < d {
				k := int(n.Add(1))
				_, t, err := c.post(k, k%services, alerts)
				if err != nil {
					errs[i] = err
					return
				}
				each[i] = append(each[i], t)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	took = slices.Concat(each...)
	return float64(len(took)) / elapsed.Seconds(), took
}

// quantile is in milliseconds.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[min(len(all)-1, int(float64(len(all))*q))]) / 1e6
}

// drop takes the one figure away that means nothing: an op here is a run.
func drop(b *testing.B) { b.ReportMetric(0, "ns/op") }

// BenchmarkWebhook takes in webhooks of new alerts of 16 services over HTTP, as
// fast as its clients can, while the engine carries out what they cause over
// channels that cost nothing. Beside it, before and after: the same requests to
// a handler that only decodes them, and the store's base.
func BenchmarkWebhook(b *testing.B) {
	const (
		services = 16
		lasts    = 3 * time.Second
		base     = 500 * time.Millisecond
	)
	for _, s := range stores {
		for _, alerts := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/alerts=%d", s.name, alerts), func(b *testing.B) {
				st := s.open(b)
				e := run(b, st, snapshot(b, services, nil))
				addr := serve(b, door(e))
				plain := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err == nil {
						_, err = routing.Decode(body)
					}
					if err != nil {
						http.Error(w, err.Error(), http.StatusBadRequest)
						return
					}
					fmt.Fprintln(w, "not stored")
				}))
				var n atomic.Int64
				bases := func() (decoded, raw float64) {
					decoded, _ = flood(b, plain, s.connections, alerts, services, base, &n)
					return decoded, st.raw(s.connections)
				}
				var rate, decoded, raw float64
				var took []time.Duration
				var before, after cost
				for b.Loop() {
					d1, r1 := bases()
					before = spent(b, st)
					rate, took = flood(b, addr, s.connections, alerts, services, lasts, &n)
					after = spent(b, st)
					d2, r2 := bases()
					decoded, raw = (d1+d2)/2, (r1+r2)/2
				}
				b.ReportMetric(rate*float64(alerts), "alerts/s")
				b.ReportMetric(rate, "webhooks/s")
				b.ReportMetric(decoded, "decode-only/s")
				b.ReportMetric(rate/decoded, "of-decode-only")
				b.ReportMetric(raw, "raw/s")
				b.ReportMetric(rate/raw, "of-raw")
				b.ReportMetric(quantile(took, 0.50), "p50-ms")
				b.ReportMetric(quantile(took, 0.99), "p99-ms")
				reportCost(b, st, before, after, len(took))
				drop(b)
			})
		}
	}
}
