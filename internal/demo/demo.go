package demo

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"callchain/notifiers/inbox"
)

//go:embed assets
var assets embed.FS

// Person is somebody of the demo organisation, for the page to say who it is.
type Person struct {
	SlackID string
	Name    string
	About   string // "on call for Search, lead of search-platform"; may be empty
}

// Config is what the page shows and drives.
type Config struct {
	Inbox *inbox.Slack
	Mail  *inbox.Mailbox

	FireURL string // the webhook endpoint of the daemon
	Token   string // its bearer token

	// Incidents returns what GET /api/v1/incidents answers.
	Incidents func(context.Context) (json.RawMessage, error)
	// BaseURL is the daemon's own pages, to link to.
	BaseURL string

	Alerts []PreparedAlert
	People []Person

	Now func() time.Time // nil: time.Now
}

type page struct {
	cfg    Config
	client *http.Client
	tmpl   *template.Template

	mu     sync.Mutex
	firing map[string]time.Time // prepared alerts, since when
	said   string               // the outcome of the last action
	saidN  int
}

var errNoSuch = errors.New("no such prepared alert")

// New returns the page, and under /api/ and /response/ the inbox's own
// endpoints: one address serves both.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &page{cfg: cfg, client: &http.Client{}, firing: map[string]time.Time{}}
	p.tmpl = template.Must(template.New("").Funcs(template.FuncMap{
		// dict gives a part of the page its own thing and the whole.
		"dict": func(one, top any) map[string]any { return map[string]any{"One": one, "Top": top} },
	}).ParseFS(assets, "assets/page.html"))
	static, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /parts", p.parts)
	mux.HandleFunc("GET /events", p.events)
	mux.HandleFunc("GET /mail/{id}", p.mail)
	mux.HandleFunc("POST /fire", p.act(p.fire))
	mux.HandleFunc("POST /press", p.act(p.press))
	mux.HandleFunc("POST /form", p.act(p.form))
	mux.HandleFunc("POST /command", p.act(p.command))
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServerFS(static)))
	guarded := http.NewCrossOriginProtection().Handler(mux)

	// Slack's callers are programs: they send no form of a page.
	all := http.NewServeMux()
	all.Handle("/api/", cfg.Inbox)
	all.Handle("/response/", cfg.Inbox)
	all.Handle("/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		guarded.ServeHTTP(w, r)
	}))
	return all
}

func (p *page) find(name string) int {
	return slices.IndexFunc(p.cfg.Alerts, func(a PreparedAlert) bool { return a.Name == name })
}

func (p *page) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = text
	p.saidN++
}

func (p *page) index(w http.ResponseWriter, r *http.Request) { p.render(w, r, "page") }
func (p *page) parts(w http.ResponseWriter, r *http.Request) { p.render(w, r, "parts") }

func (p *page) render(w http.ResponseWriter, r *http.Request, name string) {
	var b strings.Builder
	if err := p.tmpl.ExecuteTemplate(&b, name, p.view(r.Context(), r.URL.Query().Get("show"))); err != nil {
		http.Error(w, "the page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, b.String())
}

// act wraps what a form does: it leaves word and leads back to the page.
func (p *page) act(do func(*http.Request) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, "the form cannot be read", http.StatusBadRequest)
			return
		}
		said, err := do(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		p.say(said)
		http.Redirect(w, r, shown(r.PostForm), http.StatusSeeOther)
	}
}

func (p *page) fire(r *http.Request) (string, error) {
	return p.send(r.Context(), r.PostForm.Get("alert"), r.PostForm.Get("do") == "resolve")
}

// press presses a button of a message. The button's value is a query: a, its
// action, and for a menu v, the option.
func (p *page) press(r *http.Request) (string, error) {
	do, err := url.ParseQuery(r.PostForm.Get("do"))
	if err != nil {
		return "", errors.New("the button cannot be read")
	}
	ref := inbox.Ref{Channel: r.PostForm.Get("channel"), TS: r.PostForm.Get("ts")}
	user, action := r.PostForm.Get("user"), do.Get("a")
	var status int
	if do.Has("v") {
		status, err = p.cfg.Inbox.Select(r.Context(), ref, action, do.Get("v"), user)
	} else {
		status, err = p.cfg.Inbox.Press(r.Context(), ref, action, user)
	}
	label := do.Get("l")
	who := p.name(user)
	switch {
	case errors.Is(err, inbox.ErrNoMessage), errors.Is(err, inbox.ErrNoAction), errors.Is(err, inbox.ErrNotSeen):
		return "", err
	case err != nil:
		return fmt.Sprintf("%s pressed “%s”: no answer from callchain. Slack shows a warning sign.", who, label), nil //nolint:nilerr // it is what the page says
	case status != http.StatusOK:
		return fmt.Sprintf("%s pressed “%s”: callchain answered %d. Slack shows a warning sign.", who, label, status), nil
	}
	return fmt.Sprintf("%s pressed “%s”.", who, label), nil
}

// name is how the page calls a member.
func (p *page) name(slackID string) string {
	for _, person := range p.cfg.People {
		if person.SlackID == slackID {
			return person.Name
		}
	}
	for _, u := range p.cfg.Inbox.Users() {
		if u.ID == slackID {
			return u.Name
		}
	}
	return slackID
}

// mail shows the HTML part of a mail in a document of its own, where nothing
// can run and links open in a new tab.
func (p *page) mail(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	mails := p.cfg.Mail.Mails()
	i := slices.IndexFunc(mails, func(m inbox.Mail) bool { return m.ID == id })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "+
		"frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	text := mails[i].HTML
	if text == "" {
		text = "<pre>" + html.EscapeString(mails[i].Text) + "</pre>"
	}
	io.WriteString(w, blankTargets(text))
}

// blankTargets makes the links of a mail open in a new tab: its frame may not
// navigate. A base element does it for all of them, but the policy forbids
// bases that come with the mail, and a target needs no URL.
func blankTargets(mail string) string {
	const base = `<base target="_blank">`
	if i := strings.Index(strings.ToLower(mail), "<head>"); i >= 0 {
		i += len("<head>")
		return mail[:i] + base + mail[i:]
	}
	return "<!doctype html>" + base + mail
}

// events tells the page that something changed, as server-sent events.
func (p *page) events(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Time{}) // not every server has one to lift
	w.Header().Set("Content-Type", "text/event-stream")
	slack, stopSlack := p.cfg.Inbox.Subscribe()
	defer stopSlack()
	mails, stopMail := p.cfg.Mail.Subscribe()
	defer stopMail()
	// The incidents have no subscription: they are looked at every second.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := p.state(r.Context())
	if _, err := io.WriteString(w, "retry: 1000\nevent: change\ndata: \n\n"); err != nil {
		return
	}
	control.Flush()
	for quiet := 0; ; {
		changed := true
		select {
		case <-r.Context().Done():
			return
		case <-slack:
		case <-mails:
		case <-tick.C:
			now := p.state(r.Context())
			changed = now != last
			last = now
			if quiet++; quiet < 15 && !changed {
				continue
			}
		}
		quiet = 0
		event := "event: change\ndata: \n\n"
		if !changed {
			event = ": still here\n\n"
		}
		if _, err := io.WriteString(w, event); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
	}
}

// state sums up what has no subscription.
func (p *page) state(ctx context.Context) [sha256.Size]byte {
	raw, err := p.cfg.Incidents(ctx)
	if err != nil {
		raw = []byte(err.Error())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return sha256.Sum256(fmt.Appendf(raw[:len(raw):len(raw)], "\x00%d", p.saidN))
}
