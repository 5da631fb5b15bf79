package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"callchain/config"
)

// The verdicts of the doctor.
const (
	fine    = "good"
	sick    = "bad"  // callchain cannot page now, or not everybody
	noticed = "note" // worth knowing
)

// finding is one line of the checklist.
type finding struct {
	Check   string `json:"check"`
	Verdict string `json:"verdict"`
	Text    string `json:"text"`
	Remedy  string `json:"remedy"` // "" where nothing is to be done
}

// diagnosis is the result of doctor for programs.
type diagnosis struct {
	OK     bool      `json:"ok"`
	Online bool      `json:"online"` // the surroundings were asked
	Checks []finding `json:"checks"`
}

func (d *diagnosis) say(check, verdict, text, remedy string) {
	d.Checks = append(d.Checks, finding{check, verdict, text, remedy})
	if verdict == sick {
		d.OK = false
	}
}

func doctorCommand(app *kingpin.Application, commands map[string]command) {
	cmd := app.Command("doctor", "Tell whether this installation can page right now: its files, the running daemon and, with --online, the surroundings.")
	givenFile := false
	file := cmd.Flag("config.file", "The configuration.").Default("callchain.yml").IsSetByUser(&givenFile).String()
	expand, c, output := expandFlag(cmd), clientFlags(cmd), outputFlag(cmd, "text", "json")
	surroundings := cmd.Flag("online", "Also look at what the configuration names, as check-config --online does.").Bool()
	timeout := cmd.Flag("timeout", "How long looking at the surroundings may take.").Default("30s").Duration()
	only := cmd.Arg("what", "slack: look at Slack alone, closely.").Enum("slack")
	test := tryOut{}
	cmd.Flag("test-page", "With slack: page this person, and wait for their press.").PlaceHolder("PERSON").StringVar(&test.person)
	cmd.Flag("wait", "How long to wait for that press.").Default("3m").DurationVar(&test.wait)
	by := byFlag(cmd)
	commands[cmd.FullCommand()] = func(ctx context.Context, std streams) error {
		switch asks := *surroundings || *only != ""; {
		case asks && *timeout <= 0:
			return fmt.Errorf("--timeout=%s: want a time like 30s or 2m", *timeout)
		case test.wait <= 0:
			return fmt.Errorf("--wait=%s: want a time like 30s or 2m", test.wait)
		case test.person != "" && *only != "slack":
			return errors.New("--test-page goes with: callchain doctor slack")
		}
		test.by = *by
		d := diagnosis{OK: true, Checks: []finding{}}
		if *only == "slack" {
			l := d.files(*file, config.Options{ExpandEnv: *expand})
			if err := d.slack(ctx, c, l, *timeout, test, std.err); err != nil {
				return err
			}
			return d.tell(std.out, *output, "Slack is as it should be.")
		}
		var cfg *config.Config
		_, err := os.Stat(*file)
		if errors.Is(err, os.ErrNotExist) && !givenFile {
			d.say("configuration", noticed, "there is no "+*file+" here, so no files are checked", "name it with --config.file")
		} else {
			l := d.files(*file, config.Options{ExpandEnv: *expand})
			cfg = l.cfg
			if *surroundings {
				if err := d.surroundings(ctx, l, *timeout); err != nil {
					return err
				}
			}
		}
		if err := d.daemon(ctx, c, cfg, time.Now()); err != nil {
			return err
		}
		return d.tell(std.out, *output, "callchain can page.")
	}
}

// tell prints what was found; good is said when nothing is bad.
func (d *diagnosis) tell(w io.Writer, output, good string) error {
	var err error
	if output == "json" {
		err = printJSON(w, d)
	} else {
		err = d.print(w, good)
	}
	if err == nil && !d.OK {
		return status{code: bad}
	}
	return err
}

// print writes the checklist: what is bad last, where it is still seen.
func (d *diagnosis) print(w io.Writer, good string) error {
	for _, verdict := range []string{fine, noticed, sick} {
		for _, f := range d.Checks {
			if f.Verdict != verdict {
				continue
			}
			fmt.Fprintf(w, "%-4s  %s: %s\n", verdict, clean(f.Check), strings.ReplaceAll(strings.TrimSpace(cleanLines(f.Text)), "\n", "\n      "))
			if f.Remedy != "" {
				fmt.Fprintf(w, "      -> %s\n", clean(f.Remedy))
			}
		}
	}
	n := 0
	for _, f := range d.Checks {
		if f.Verdict == sick {
			n++
		}
	}
	if n == 0 {
		_, err := fmt.Fprintln(w, good)
		return err
	}
	_, err := fmt.Fprintf(w, "%s bad: see above.\n", map[bool]string{true: "1 check is", false: fmt.Sprintf("%d checks are", n)}[n == 1])
	return err
}

// files checks configuration and catalog.
func (d *diagnosis) files(file string, opts config.Options) *loaded {
	l := load(file, opts)
	ps := l.problems()
	if errs := ps.Errors(); len(errs) > 0 {
		d.say("configuration", sick, firstOf(errs), "mend it and reload; callchain check-config shows everything")
	} else {
		d.say("configuration", fine, fmt.Sprintf("%s, %s, %s, %s", file, count(len(l.raw.Services), "service"), count(len(l.raw.Teams), "team"), people(len(l.raw.People))), "")
	}
	if warns := ps.Warnings(); len(warns) > 0 {
		d.say("configuration", noticed, firstOf(warns), "")
	}
	return l
}

// firstOf shows the first few problems.
func firstOf(ps config.Problems) string {
	const most = 5
	var lines []string
	for i, p := range ps {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(ps)-most))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

func (d *diagnosis) surroundings(ctx context.Context, l *loaded, limit time.Duration) error {
	if len(l.problems().Errors()) > 0 {
		d.say("surroundings", noticed, "nobody was asked: the configuration has errors", "")
		return nil
	}
	seen, err := around(ctx, l, limit)
	if err != nil {
		return err
	}
	d.Online = true
	if len(seen.Checked) > 0 {
		d.say("surroundings", fine, strings.Join(seen.Checked, "\n"), "")
	}
	if errs := seen.Problems.Errors(); len(errs) > 0 {
		d.say("surroundings", sick, firstOf(errs), "callchain check-config --online shows everything")
	}
	if warns := seen.Problems.Warnings(); len(warns) > 0 {
		d.say("surroundings", noticed, firstOf(warns), "")
	}
	return nil
}

// daemon asks the running callchain. cfg is what the files say; nil without any.
func (d *diagnosis) daemon(ctx context.Context, c client, cfg *config.Config, now time.Time) error {
	ready, err := c.plain(ctx, "/-/ready")
	if err != nil {
		return err
	}
	switch {
	case ready.failed != "":
		d.say("daemon", sick, ready.failed, "start it, or say where it runs with --url or CALLCHAIN_URL")
		return nil
	case ready.code != http.StatusOK:
		d.say("daemon", sick, fmt.Sprintf("%s/-/ready answers HTTP %d: %s", *c.url, ready.code, strings.TrimSpace(string(ready.body))),
			"if this is callchain its store does not answer: look at the disk or Redis, and its log")
	default:
		d.say("daemon", fine, *c.url+" is ready", "")
	}
	page, err := c.plain(ctx, "/metrics")
	if err != nil {
		return err
	}
	if page.failed == "" && page.code != http.StatusOK {
		page.failed = fmt.Sprintf("HTTP %d", page.code)
	}
	if page.failed != "" {
		d.say("metrics", sick, *c.url+"/metrics: "+page.failed, "use the address of --web.listen-address, not the public one")
		return nil
	}
	m := readMetrics(page.body)
	if len(m["callchain_build_info"]) == 0 {
		d.say("metrics", sick, *c.url+" is not callchain's address: it shows none of its metrics", "correct --url")
		return nil
	}
	d.state(m, cfg, now)
	d.incoming(m, now)
	d.token(ctx, c)
	return nil
}

// state is what the metrics say of callchain itself.
func (d *diagnosis) state(m metrics, cfg *config.Config, now time.Time) {
	loaded := m.at("callchain_config_last_reload_success_timestamp_seconds")
	if m.value("callchain_config_last_reload_successful") == 1 {
		d.say("reload", fine, "the configuration in force was loaded "+ago(loaded, now), "")
	} else {
		d.say("reload", sick, "the last reload was refused; what was loaded "+ago(loaded, now)+" is in force",
			"callchain check-config names each mistake; mend them and reload")
	}
	if m.value("callchain_store_up") == 1 {
		d.say("store", fine, "it answers", "")
	} else {
		d.say("store", sick, "timers cannot be read from the store", "look at the disk or Redis; see CallchainStoreDown in docs/operations.md")
	}
	if m.value("callchain_island") == 1 {
		d.say("store", sick, "Redis is away: what comes in is kept and paged once, nothing escalates", "bring Redis back")
	}
	if cfg != nil && cfg.Shadow.V {
		d.say("shadow", sick, "shadow: true: nothing is sent to anybody", "remove shadow from the configuration and reload")
	}
	channels := m["callchain_channel_up"]
	if len(channels) == 0 {
		d.say("channels", sick, "no channel is configured: nobody can be paged", "configure notifiers.slack or notifiers.email")
	}
	for _, s := range channels {
		if s.value == 1 {
			d.say("channel "+s.labels["channel"], fine, "it works", "")
		} else {
			d.say("channel "+s.labels["channel"], sick, "it is down; people are paged over their other channel, if they have one",
				"the log line \"a channel is down\" has its answer; see CallchainChannelDown in docs/operations.md")
		}
	}
	for _, s := range m["callchain_slack_sockets"] {
		if s.value > 0 {
			d.say("slack buttons", fine, count(int(s.value), "connection")+" to Slack", "")
		} else {
			d.say("slack buttons", sick, "there is no connection to Slack: a press there does nothing", "callchain doctor slack says why")
		}
	}
	const most = 30 * time.Second
	if overdue := time.Duration(m.value("callchain_oldest_overdue_seconds") * float64(time.Second)); overdue > most {
		d.say("timers", sick, "one has been due for "+model.Duration(overdue.Round(time.Second)).String(), "see CallchainTimersOverdue in docs/operations.md; a restart is harmless")
	} else {
		d.say("timers", fine, "none is overdue", "")
	}
	if cfg != nil && cfg.Self.HeartbeatURLFile.V != "" {
		last := m.at("callchain_self_heartbeat_last_success_timestamp_seconds")
		if now.Sub(last) > 3*time.Minute {
			d.say("own heartbeat", sick, "self.heartbeat_url_file was last called with success "+ago(last, now),
				"the log lines about \"own heartbeat\" say why; a daemon that has just started calls within seconds")
		} else {
			d.say("own heartbeat", fine, "last sent "+ago(last, now), "")
		}
	}
	for _, w := range []struct{ metric, check, text, remedy string }{
		{"callchain_panics_total", "panics", "callchain made mistakes since its start", "report the log lines \"panic contained\""},
		{"callchain_auditor_repairs_total", "auditor", "records were found that nobody would have woken, or could read, since its start", "the log names them; self.team was told"},
	} {
		n := 0.0
		for _, s := range m[w.metric] {
			n += s.value
		}
		if n > 0 {
			d.say(w.check, noticed, fmt.Sprintf("%s: %.0f", w.text, n), w.remedy)
		}
	}
	if cfg != nil && cfg.Reports.Weekly != nil {
		d.say("weekly report", noticed, "last handed to a channel "+ago(m.at("callchain_report_last_success_timestamp_seconds"), now), "")
	}
}

// incoming is what the metrics say of each source.
func (d *diagnosis) incoming(m metrics, now time.Time) {
	for _, s := range m["callchain_last_webhook_timestamp_seconds"] {
		source := s.labels["source"]
		last := stampedAt(s.value)
		refused, codes := 0.0, []string{}
		for _, w := range m["callchain_webhooks_total"] {
			if w.labels["source"] == source && w.labels["code"] != "200" && w.value > 0 {
				refused += w.value
				codes = append(codes, fmt.Sprintf("%s: %.0f", w.labels["code"], w.value))
			}
		}
		slices.Sort(codes)
		switch check := "source " + source; {
		case last.IsZero() && refused > 0:
			d.say(check, sick, "since the start every webhook was answered with an error (HTTP "+strings.Join(codes, ", ")+"): its alerts page nobody",
				"401: the tokens differ; 400, 413: see CallchainWebhooksRefused in docs/operations.md; 503: the store")
		case last.IsZero():
			d.say(check, noticed, "no webhook came since the start", "if alerts fire there, look at Alertmanager's webhook_configs")
		case now.Sub(last) > 24*time.Hour:
			d.say(check, noticed, "the last webhook was stored "+ago(last, now), "a heartbeat (alertmanager.heartbeats) would tell quiet from dead")
		default:
			d.say(check, fine, "the last webhook was stored "+ago(last, now), "")
		}
		if !last.IsZero() && refused > 0 {
			d.say("source "+source, noticed, "some webhooks were answered with an error since the start (HTTP "+strings.Join(codes, ", ")+")", "")
		}
	}
	for _, w := range m["callchain_webhooks_total"] {
		if w.labels["source"] == "unknown" && w.value > 0 {
			d.say("sources", noticed, fmt.Sprintf("%.0f webhooks came for a source that is not configured", w.value), "see CallchainUnknownSource in docs/operations.md")
		}
	}
}

// token tries the token, if one is given.
func (d *diagnosis) token(ctx context.Context, c client) {
	if *c.tokenFile == "" {
		return
	}
	var answer struct {
		Version string
		Ready   bool
		Config  string `json:"config_file"`
	}
	if err := c.call(ctx, http.MethodGet, "status", nil, &answer); err != nil {
		d.say("api", sick, err.Error(), "give a file with a token of api.tokens by --token-file")
		return
	}
	d.say("api", fine, "the token is good; version "+answer.Version+", configuration "+answer.Config, "")
}

// answer is what an address gave; failed says why there is none.
type answer struct {
	code   int
	body   []byte
	failed string
}

// plain gets what is no part of the API. A redirect is an answer, and so is that
// nobody is there; an error means that it could not be asked.
func (c client) plain(ctx context.Context, path string) (answer, error) {
	base, err := url.Parse(*c.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return answer{}, fmt.Errorf("--url %q: want an address like http://localhost:9321", *c.url)
	}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, strings.TrimRight(*c.url, "/")+path, nil)
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("User-Agent", "callchain/"+versionNumber())
	hc := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	out := answer{}
	resp, err := hc.Do(req)
	if err == nil {
		defer resp.Body.Close()
		out.code = resp.StatusCode
		out.body, err = io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	}
	if err != nil {
		out.failed = err.Error()
	}
	return out, ctx.Err()
}

// sample is one value of a metric.
type sample struct {
	labels map[string]string
	value  float64
}

// metrics are the gauges and counters of a page of metrics, by name.
type metrics map[string][]sample

// readMetrics reads a page of metrics; what is none has none.
func readMetrics(page []byte) metrics {
	out := metrics{}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return out
	}
	for name, f := range families {
		for _, one := range f.GetMetric() {
			s := sample{labels: map[string]string{}, value: one.GetGauge().GetValue() + one.GetCounter().GetValue()}
			for _, l := range one.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
			}
			out[name] = append(out[name], s)
		}
	}
	return out
}

// value is that of a metric without labels; 0 if there is none.
func (m metrics) value(name string) float64 {
	if len(m[name]) == 0 {
		return 0
	}
	return m[name][0].value
}

// at is the instant that a metric holds; zero for never.
func (m metrics) at(name string) time.Time { return stampedAt(m.value(name)) }

func stampedAt(seconds float64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000))
}

// ago says how long ago something was.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "not since its start"
	}
	d := max(0, now.Sub(t))
	switch {
	case d < time.Minute:
		return "less than a minute ago"
	case d < time.Hour:
		return count(int(d.Minutes()), "minute") + " ago"
	case d < 48*time.Hour:
		return count(int(d.Hours()), "hour") + " ago"
	}
	return count(int(d.Hours()/24), "day") + " ago"
}
