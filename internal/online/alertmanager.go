package online

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"

	"callchain/config"
)

// From here on Alertmanager's grouping delays people noticeably.
const (
	longWait     = time.Minute
	longInterval = 10 * time.Minute
)

// peer is one Alertmanager of a source, as it answered.
type peer struct {
	at     config.At[string]
	url    string // without a password
	status struct {
		Cluster struct {
			Name   string `json:"name"`
			Status string `json:"status"`
			Peers  []struct {
				Name    string `json:"name"`
				Address string `json:"address"`
			} `json:"peers"`
		} `json:"cluster"`
		Config struct {
			Original string `json:"original"`
		} `json:"config"`
		Version struct {
			Version string `json:"version"`
		} `json:"versionInfo"`
	}
}

func (p *peer) version() string {
	if v := p.status.Version.Version; v != "" {
		return "Alertmanager " + v
	}
	return "an Alertmanager that does not say its version"
}

// alertmanagers asks every peer of every source how it is set up.
func (w World) alertmanagers(ctx context.Context) (s section) {
	sources := w.Config.Alertmanager.Sources
	found := make([]section, len(sources))
	var all sync.WaitGroup
	for i, source := range sources {
		if len(source.APIURL) == 0 {
			found[i].warnf(source.Name.Pos, "source %s: without api_url its Alertmanager cannot be asked: whether it sends alerts here, and how it groups and repeats them, was not checked; list the addresses of all its peers",
				source.Name.V)
			continue
		}
		all.Go(func() { found[i] = w.source(ctx, source) })
	}
	all.Wait()
	for _, f := range found {
		s.problems = append(s.problems, f.problems...)
		s.checked = append(s.checked, f.checked...)
	}
	return s
}

// source asks the peers of one source.
func (w World) source(ctx context.Context, source config.Source) (s section) {
	c := client(true)
	defer c.CloseIdleConnections()
	peers, errs := make([]*peer, len(source.APIURL)), make([]error, len(source.APIURL))
	var all sync.WaitGroup
	for i, at := range source.APIURL {
		all.Go(func() { peers[i], errs[i] = askPeer(ctx, c, at) })
	}
	all.Wait()

	var groups [][]*peer // those with one configuration
	var answered []*peer
	for i, p := range peers {
		if errs[i] != nil {
			s.errorf(source.APIURL[i].Pos, "%s: %v", p.url, errs[i])
			continue
		}
		answered = append(answered, p)
		same := slices.IndexFunc(groups, func(g []*peer) bool { return g[0].status.Config.Original == p.status.Config.Original })
		if same < 0 {
			groups = append(groups, []*peer{p})
		} else {
			groups[same] = append(groups[same], p)
		}
	}
	w.cluster(&s, source, answered, errors.Join(errs...) == nil)
	if len(groups) > 1 {
		s.warnf(source.APIURL[0].Pos, "source %s: its peers have %d different configurations, so one alert may come in two groups and be two incidents; give all of them the same", source.Name.V, len(groups))
	}
	for _, g := range groups {
		w.setup(&s, source, g)
	}
	return s
}

func askPeer(ctx context.Context, c *http.Client, at config.At[string]) (*peer, error) {
	p := &peer{at: at, url: at.V}
	u, err := url.Parse(at.V)
	if err != nil {
		return p, errors.New("this is no URL")
	}
	p.url = strings.TrimRight(u.Redacted(), "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("api/v2/status").String(), nil)
	if err != nil {
		return p, errors.New("this is no URL")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return p, fmt.Errorf("no Alertmanager can be reached there: %s; is it up, is the address right, does a firewall lie between?", why(ctx, err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return p, fmt.Errorf("HTTP %d: something in front of Alertmanager wants a login; name an address that callchain may read from", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return p, fmt.Errorf("/api/v2/status answers HTTP %d: api_url must be Alertmanager's own address, with its route prefix and without /api/v2", resp.StatusCode)
	case err != nil:
		return p, fmt.Errorf("the answer of Alertmanager broke off: %s", why(ctx, err))
	}
	if err := json.Unmarshal(body, &p.status); err != nil || p.status.Config.Original == "" {
		return p, errors.New("what answers there is not Alertmanager: api_url must be Alertmanager's own address, with its route prefix and without /api/v2")
	}
	return p, nil
}

// cluster holds the peers that are listed against those that know each other.
func (w World) cluster(s *section, source config.Source, answered []*peer, complete bool) {
	names := map[string]*peer{}
	for _, p := range answered {
		at := p.at.Pos
		s.notef("source %s: %s is %s", source.Name.V, p.url, p.version())
		if major, minor, ok := number(p.status.Version.Version); ok && major == 0 && minor < 21 {
			s.warnf(at, "%s: Alertmanager %s does not say when it cut alerts off (truncatedAlerts); use 0.21 or later", p.url, p.status.Version.Version)
		}
		cluster := p.status.Cluster
		if other := names[cluster.Name]; cluster.Name != "" && other != nil {
			s.warnf(at, "%s and %s are the same Alertmanager; list each peer once, by an address of its own and not that of a load balancer", other.url, p.url)
		}
		names[cluster.Name] = p
		switch {
		case len(cluster.Peers) > len(source.APIURL):
			var addresses []string
			for _, c := range cluster.Peers {
				addresses = append(addresses, c.Address)
			}
			s.warnf(at, "%s: its cluster has %d peers (%s), api_url lists %s; list all of them: an alert that only one of them has would be taken for over",
				p.url, len(cluster.Peers), together(addresses), count(len(source.APIURL), "address", "addresses"))
		case len(source.APIURL) > 1 && len(cluster.Peers) < len(source.APIURL) && complete:
			s.warnf(at, "%s: knows of %s in its cluster, api_url lists %d; peers that do not know each other each send every alert, and share no silences: look at their --cluster.peer, or make them sources of their own",
				p.url, count(max(len(cluster.Peers), 1), "peer", "peers"), len(source.APIURL))
		}
	}
}

var versionNumber = regexp.MustCompile(`^v?(\d+)\.(\d+)\.`)

func number(version string) (major, minor int, ok bool) {
	m := versionNumber.FindStringSubmatch(version)
	if m == nil {
		return 0, 0, false
	}
	major, _ = strconv.Atoi(m[1])
	minor, err := strconv.Atoi(m[2])
	return major, minor, err == nil
}

// setup reads how peers with one configuration send to callchain.
func (w World) setup(s *section, source config.Source, peers []*peer) {
	var urls []string
	for _, p := range peers {
		urls = append(urls, p.url)
	}
	a := &audit{section: s, w: w, source: source, pos: peers[0].at.Pos, who: together(urls)}
	c, err := readAlertmanager(peers[0].status.Config.Original)
	if err != nil {
		a.warnf("its configuration cannot be read: %v; what it sends here was not checked", err)
		return
	}
	a.config, a.root = c, c.routes()
	a.ours = c.findOurs(source.Name.V, a.root)
	a.root.walk(func(n *node) {
		if n.delivers() && slices.Contains(a.ours.receivers(), n.receiver) {
			a.reached = append(a.reached, n)
		}
	})
	if !a.arrives() {
		return
	}
	a.webhooks()
	a.grouping()
	a.timing()
	a.twice()
	a.heartbeats()
	a.aroundUs()
}

// audit is the look at one configuration of Alertmanager's.
type audit struct {
	*section
	w       World
	source  config.Source
	pos     config.Pos
	who     string
	config  *amConfig
	root    *node
	ours    ours
	reached []*node // routes that deliver to callchain
}

func (a *audit) errorf(format string, args ...any) {
	a.section.errorf(a.pos, "%s: %s", a.who, fmt.Sprintf(format, args...))
}

func (a *audit) warnf(format string, args ...any) {
	a.section.warnf(a.pos, "%s: %s", a.who, fmt.Sprintf(format, args...))
}

func (a *audit) address() string { return a.w.Config.ExternalURL.V + webhookPath + a.source.Name.V }

// arrives tells whether alerts come to callchain at all, as far as can be seen.
func (a *audit) arrives() bool {
	o := a.ours
	switch {
	case len(o.hooks) == 0 && len(o.hidden) > 0 && len(o.others) == 0:
		a.warnf("Alertmanager hides the URLs of its webhooks, and none of the receivers %s can be told to be callchain's: whether alerts come here, and how, was not checked; put callchain into the name of its receiver", together(o.hidden))
		return false
	case len(o.hooks) == 0 && len(o.others) > 0:
		a.errorf("its webhook posts to callchain as source %s, not as %s; write %s into its url, or list this address with the other source", together(o.others), a.source.Name.V, a.address())
		return false
	case len(o.hooks) == 0:
		a.errorf("no receiver posts to callchain: no alert of it comes here; add a receiver with webhook_configs, url %s", a.address())
		return false
	case len(a.reached) == 0:
		a.errorf("no route leads to the receiver %s: no alert comes here; name it in a route", together(o.receivers()))
		return false
	}
	if o.guess != "" {
		a.notef("%s: callchain's receiver is taken to be %s, %s; Alertmanager hides URLs, so whether it posts to %s could not be seen",
			a.who, together(o.receivers()), o.guess, a.address())
	}
	a.notef("%s: %s to callchain (%s)", a.who, count(len(a.reached), "route leads", "routes lead"), together(o.receivers()))
	return true
}

// webhooks looks at how alerts are posted.
func (a *audit) webhooks() {
	for _, h := range a.ours.hooks {
		warnf := func(format string, args ...any) {
			a.warnf("receiver %s: %s", h.receiver, fmt.Sprintf(format, args...))
		}
		errorf := func(format string, args ...any) {
			a.errorf("receiver %s: %s", h.receiver, fmt.Sprintf(format, args...))
		}
		if h.SendResolved != nil && !*h.SendResolved {
			errorf("send_resolved is false: callchain is never told that an alert is over and goes on waking people; remove it")
		}
		if h.Payload != nil {
			errorf("payload replaces Alertmanager's own body, which callchain needs; remove it")
		}
		if h.MaxAlerts > 0 {
			warnf("max_alerts is %d: what Alertmanager cuts off is not seen here, neither that it fires nor that it is over, and which service it is about; remove it, callchain takes groups of any size", h.MaxAlerts)
		}
		if !a.source.Anonymous.V {
			auth, name := h.HTTP, a.source.Name.V
			switch {
			case auth != nil && auth.Authorization != nil:
				if kind := auth.Authorization.Type; kind != "" && !strings.EqualFold(kind, "Bearer") {
					errorf("http_config.authorization has type %s: callchain answers 401 to anything but Bearer; remove the type", kind)
				}
			case auth != nil && (auth.BearerToken != "" || auth.BearerTokenFile != ""):
			default:
				errorf("it sends no token: callchain answers 401, and nobody is paged; add http_config: {authorization: {credentials_file: FILE}} with the token of source %s", name)
			}
		}
		if h.Timeout == nil {
			continue
		}
		shortest := a.reached[0].interval
		for _, n := range a.reached {
			shortest = min(shortest, n.interval)
		}
		timeout, err := model.ParseDuration(*h.Timeout)
		switch {
		case err == nil && timeout == 0:
			warnf("it has no timeout: a connection that hangs keeps a group from being sent for a whole group_interval (%s); set timeout: 10s", span(shortest))
		case err == nil && time.Duration(timeout) > shortest:
			warnf("its timeout %s is longer than the group_interval %s: a connection that hangs is never tried again in time; set timeout: 10s", timeout, span(shortest))
		}
	}
}

// grouping looks at what Alertmanager puts into one webhook.
func (a *audit) grouping() {
	var mixed, single []string
	services := values(a.w.Config.Routing.ServiceLabels)
	for _, n := range a.reached {
		switch {
		case slices.Contains(n.groupBy, "..."):
			single = append(single, n.String())
		case len(services) > 0 && !slices.ContainsFunc(services, func(l string) bool { return slices.Contains(n.groupBy, l) }):
			mixed = append(mixed, fmt.Sprintf("%s (by %s)", n, grouped(n)))
		}
	}
	if len(mixed) > 0 {
		a.warnf("group_by lacks the service label (%s) in %s: one webhook carries several services. Each alert is still decided on its own, but a service that breaks after another one waits for the group_interval before anybody is paged; add the label to group_by",
			together(services), together(mixed))
	}
	if len(single) > 0 {
		a.warnf("group_by is '...' in %s: each alert is a group, and so an incident and a page, of its own; group by alertname and the service label instead", together(single))
	}
	for _, n := range a.reached {
		if len(n.limited) > 0 {
			a.warnf("%s has time intervals (%s): what they mute does not come here, not even that it is over, and chains that run meanwhile go on; to be woken by day only, use active_time_intervals in routing.urgency instead", n, together(n.limited))
		}
	}
}

// timing looks at how late Alertmanager tells, and how often it repeats.
func (a *audit) timing() {
	e := a.w.Config.Escalation
	ackPage, ackNow := e.AckExpires.For(config.Page), e.AckExpires.For(config.UnbreakNow)
	var waits, intervals, repeats, stale []string
	longest := time.Duration(0)
	for _, n := range a.reached {
		if n.wait > longWait {
			waits = append(waits, fmt.Sprintf("%s (%s)", n, span(n.wait)))
		}
		if n.interval > longInterval {
			intervals = append(intervals, fmt.Sprintf("%s (%s)", n, span(n.interval)))
		}
		if shortest := shorter(ackPage, ackNow); shortest > 0 && n.repeat > shortest {
			repeats = append(repeats, fmt.Sprintf("%s (%s)", n, span(n.repeat)))
			longest = max(longest, n.repeat)
		}
		if after := time.Duration(e.StaleAfter.V); after > 0 && n.repeat >= after {
			stale = append(stale, fmt.Sprintf("%s (%s)", n, span(n.repeat)))
		}
	}
	if len(waits) > 0 {
		a.warnf("group_wait is long in %s: the first page comes that much later; 10s to 30s are usual", together(waits))
	}
	if len(intervals) > 0 {
		a.warnf("group_interval is long in %s: further alerts of a group, and that alerts are over, are told that much later, and people are woken meanwhile; 1m to 5m are usual", together(intervals))
	}
	if len(repeats) > 0 {
		var ends []string
		if ackNow > 0 && longest > ackNow {
			ends = append(ends, "unbreak_now after "+span(ackNow))
		}
		if ackPage > 0 && longest > ackPage {
			ends = append(ends, "page after "+span(ackPage))
		}
		a.warnf("repeat_interval is longer than escalation.ack_expires (%s) in %s: an acknowledgement ends, and people are woken again, before Alertmanager has said once more that the alert still fires; shorten repeat_interval or lengthen ack_expires",
			together(ends), together(repeats))
	}
	if len(stale) > 0 {
		a.warnf("repeat_interval is not shorter than escalation.stale_after (%s) in %s: incidents that go on are marked stale between two repeats; lengthen stale_after to three repeats",
			span(time.Duration(e.StaleAfter.V)), together(stale))
	}
}

func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// twice looks for alerts that come by two routes in two groups.
func (a *audit) twice() {
	for i, first := range a.reached {
		for _, second := range a.reached[i+1:] {
			if slices.Equal(first.groupBy, second.groupBy) || !bothTake(first, second) {
				continue
			}
			a.warnf("an alert can be delivered by %s, which continues, and by %s: grouped by %s and by %s it is two incidents, with two chains of pages; give both the same group_by, or let only one of them lead to callchain",
				first, second, grouped(first), grouped(second))
		}
	}
}

func grouped(n *node) string {
	if len(n.groupBy) == 0 {
		return "nothing"
	}
	return together(n.groupBy)
}

// heartbeats looks whether those that are waited for come, and in time.
func (a *audit) heartbeats() {
	for _, h := range a.w.Config.Alertmanager.Heartbeats {
		if h.Source.V != a.source.Name.V {
			continue
		}
		set := model.LabelSet{}
		for _, m := range h.Match {
			if m.V.Type == labels.MatchEqual {
				set[model.LabelName(m.V.Name)] = model.LabelValue(m.V.Value)
			}
		}
		if len(set) == 0 {
			continue // which alert it is cannot be told
		}
		var best *node
		for _, n := range a.root.match(set) {
			if slices.Contains(a.reached, n) && (best == nil || beat(n) < beat(best)) {
				best = n
			}
		}
		switch every := time.Duration(h.Every.V); {
		case best == nil:
			a.section.warnf(h.Pos, "%s: no route brings the heartbeat %s here; add one to the receiver %s, with a repeat_interval of less than %s", a.who, set, together(a.ours.receivers()), span(every))
		case beat(best) > every:
			a.section.warnf(h.Pos, "%s: %s repeats the heartbeat %s every %s only, but it is missed after %s; give it a route of its own with a shorter repeat_interval and group_interval", a.who, best, set, span(beat(best)), span(every))
		}
	}
}

// beat is how often a route repeats: repeats wait for the next group_interval.
func beat(n *node) time.Duration {
	if n.interval <= 0 {
		return n.repeat
	}
	return max((n.repeat+n.interval-1)/n.interval, 1) * n.interval
}

// aroundUs looks whether somebody hears when callchain itself is broken.
func (a *audit) aroundUs() {
	to := receivers(a.root.match(aboutUs))
	const remedy = `add a route for job="callchain" to something that works without callchain and wakes somebody, as in deploy/examples`
	for _, name := range to {
		if slices.Contains(a.ours.receivers(), name) {
			continue
		}
		at := slices.IndexFunc(a.config.Receivers, func(r amReceiver) bool { return r.Name == name })
		if at >= 0 && !a.config.Receivers[at].empty() {
			return
		}
	}
	if !slices.ContainsFunc(to, func(name string) bool { return !slices.Contains(a.ours.receivers(), name) }) {
		a.warnf("the alerts about callchain itself go to callchain only, so nobody hears that it is down; %s", remedy)
		return
	}
	a.warnf("the alerts about callchain itself go to the receiver %s, which tells nobody; %s", together(to), remedy)
}

// span writes a duration as configurations do.
func span(d time.Duration) string { return model.Duration(d).String() }

func values(list []config.At[string]) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.V)
	}
	return out
}
