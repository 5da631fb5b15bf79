package email

import (
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	texttemplate "text/template"

	gomail "github.com/wneessen/go-mail"

	"callchain/config"
	"callchain/notifiers"
)

// form is how much of a mail is sent.
type form int

const (
	both     form = iota // text and HTML
	textOnly             // what passes the pickiest filter
)

var (
	//go:embed mail.html.tmpl
	htmlSource string
	//go:embed mail.txt.tmpl
	textSource string

	htmlMail = template.Must(template.New("html").Parse(htmlSource))
	textMail = texttemplate.Must(texttemplate.New("text").Funcs(texttemplate.FuncMap{"wrap": wrap}).Parse(textSource))
)

// maxSubject is how many characters a subject has at most.
const maxSubject = 200

// letter is what both parts of a mail say, in words of notifiers'. Every string
// is clean; HTML escapes it again where it is put.
type letter struct {
	Headline  string
	Colour    string // of the state, which is also in the words
	Status    string
	Summary   string
	Subject   string
	Why       string
	Before    string // who was paged before, without an answer
	Next      string
	AckURL    string // "" without a link
	AckLabel  string
	Ownership []string
	Notes     []string
	Paged     []string
	Count     string
	Alerts    []string
	Places    []notifiers.Place
	Body      string // of a notice
	Passages  []string
	Twice     string
	Footer    string
	Preview   string
	Acts      bool // the link acts as its reader
	Late      bool // the mail may be read late
}

func view(m notifiers.Message) letter {
	in := m.Incident
	v := letter{
		Headline: notifiers.Headline(m),
		Colour:   colour(m),
		Preview:  notifiers.Shorten(notifiers.Sentence(m), 200),
		Footer:   notifiers.Footer(m),
	}
	if m.Kind == notifiers.Notice {
		if m.Notice != nil {
			v.Body = notifiers.CleanText(string(m.Notice.Body), 200_000)
			v.Passages = strings.Split(v.Body, "\n\n")
		}
		return v
	}
	if m.Kind == notifiers.Digest {
		digest(&v, m)
		return v
	}
	v.Status = notifiers.Status(m)
	v.Summary = notifiers.Summary(in)
	v.Subject = notifiers.Subject(in)
	v.Why = notifiers.Why(m)
	v.Before = notifiers.Unanswered(m)
	v.Next = notifiers.Upcoming(m)
	v.Twice = notifiers.MayComeTwice(m)
	v.Ownership = notifiers.Ownership(in)
	v.Notes = notifiers.Notes(in)
	v.Count = notifiers.AlertCount(in)
	v.Alerts = notifiers.AlertLines(in, m.Now)
	v.Places = notifiers.Places(in)
	v.Late = m.Kind != notifiers.Board && in.State != notifiers.Resolved
	if m.You == nil {
		for i, p := range in.Paged {
			if i == notifiers.MaxAlerts {
				v.Paged = append(v.Paged, "and more")
				break
			}
			who, rest := notifiers.PagedLine(p, m.Now)
			v.Paged = append(v.Paged, who+rest)
		}
	}
	if acknowledgeable(m) {
		if link, ok := notifiers.Link(notifiers.Untrusted(m.You.AckURL)); ok {
			v.AckURL, v.AckLabel, v.Acts = link, "Acknowledge", true
			if m.Kind == notifiers.Question { // whoever presses has it already
				v.AckLabel = "Still on it"
			}
		}
	}
	return v
}

// acknowledgeable tells whether the mail carries the link: it asks somebody for
// an answer, and there still is something to answer.
func acknowledgeable(m notifiers.Message) bool {
	if m.You == nil {
		return false
	}
	switch m.Kind {
	case notifiers.Page, notifiers.Reminder:
		return m.Incident.State == notifiers.Triggered || m.Incident.State == notifiers.Snoozed || m.You.Beside && m.Incident.State == notifiers.Acknowledged
	case notifiers.Question: // pressing again renews it
		return m.Incident.State == notifiers.Acknowledged
	}
	return false
}

// done is the colour of what is over.
const done = "#1a7f37"

func colour(m notifiers.Message) string {
	switch {
	case m.Kind == notifiers.Notice, m.Kind == notifiers.Report:
		return "#57606a"
	case m.Incident.State == notifiers.Resolved:
		return done
	case m.Incident.State == notifiers.Acknowledged, m.Incident.State == notifiers.Snoozed:
		return "#9a6700"
	}
	return "#cf222e"
}

// text is the text part.
func text(m notifiers.Message) (string, error) {
	if m.Kind == notifiers.Report && m.Report != nil {
		body := m.Report.Text
		if body == "" {
			body = notifiers.ReportText(m.Report)
		}
		return squeeze(notifiers.CleanText(body, 200_000) + "\n\n" + notifiers.Footer(m)), nil
	}
	var b strings.Builder
	if err := textMail.Execute(&b, view(m)); err != nil {
		return "", fmt.Errorf("writing the text of a mail: %w", err)
	}
	return squeeze(b.String()), nil
}

func html(m notifiers.Message) (string, error) {
	if m.Kind == notifiers.Report {
		if m.Report == nil {
			return "", nil
		}
		return strings.ToValidUTF8(string(m.Report.HTML), "\uFFFD"), nil
	}
	var b strings.Builder
	if err := htmlMail.Execute(&b, view(m)); err != nil {
		return "", fmt.Errorf("writing the HTML of a mail: %w", err)
	}
	return b.String(), nil
}

// subject is the same for every mail of an incident: mailboxes thread by it.
func subject(m notifiers.Message) string {
	if m.Kind == notifiers.Digest {
		return notifiers.Clean("[callchain "+m.Incident.ID+"] alert storm: many incidents in one mail", maxSubject)
	}
	if m.Kind == notifiers.Notice || m.Kind == notifiers.Report {
		return notifiers.Clean("[callchain] "+notifiers.Headline(m), maxSubject)
	}
	return notifiers.Clean(fmt.Sprintf("[callchain %s] %s", m.Incident.ID, notifiers.Title(m.Incident)), maxSubject)
}

// messageID is the same on every attempt: mailboxes drop the second copy.
func (n *Notifier) messageID(m notifiers.Message) string {
	return "<" + token(m.ID, 100) + "@" + n.cfg.Domain + ">"
}

// compose makes the mail. Header values are encoded by go-mail; nothing here
// may use its preformatted headers, which pass line breaks through.
func (n *Notifier) compose(m notifiers.Message, f form) (*gomail.Msg, error) {
	letter := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingQP))
	if err := letter.From(n.cfg.From); err != nil {
		return nil, fmt.Errorf("writing the sender %q: %w", n.cfg.From, err)
	}
	if err := letter.To(m.Address); err != nil {
		return nil, fmt.Errorf("writing the recipient %q: %w", notifiers.Clean(m.Address, 200), err)
	}
	letter.Subject(subject(m))
	letter.SetGenHeader(gomail.HeaderMessageID, n.messageID(m))
	if !m.Now.IsZero() {
		letter.SetDateWithValue(m.Now)
	}
	letter.SetGenHeader(gomail.HeaderUserAgent, "callchain")
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	letter.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "DR, RN, NRN, OOF, AutoReply")
	letter.SetGenHeader("X-Callchain-Kind", token(string(m.Kind), 64))
	switch m.Kind {
	case notifiers.Notice:
	case notifiers.Report:
		// So that people can sort it away, and no mailbox takes it for urgent.
		letter.SetGenHeader("List-Id", "<report.callchain."+n.cfg.Domain+">")
		letter.SetGenHeader(gomail.HeaderPrecedence, "bulk")
	default:
		// No mail has this id: the thread's root is virtual, so that no mail
		// of the thread depends on another having arrived.
		root := "<inc-" + token(m.Incident.ID, 100) + "@" + n.cfg.Domain + ">"
		letter.SetGenHeader(gomail.HeaderReferences, root)
		letter.SetGenHeader(gomail.HeaderInReplyTo, root)
		letter.SetGenHeader("X-Callchain-Incident", token(m.Incident.ID, 64))
		letter.SetGenHeader("X-Callchain-Service", token(m.Incident.Name, 64))
		if m.Incident.Urgency == config.UnbreakNow && (m.Kind == notifiers.Page || m.Kind == notifiers.Reminder) {
			letter.SetImportance(gomail.ImportanceHigh)
		}
	}
	body, err := text(m)
	if err != nil {
		return nil, err
	}
	letter.SetBodyString(gomail.TypeTextPlain, body)
	if f == both {
		rich, err := html(m)
		if err != nil {
			return nil, err
		}
		if rich != "" {
			letter.AddAlternativeString(gomail.TypeTextHTML, rich)
		}
	}
	return letter, nil
}

// token makes a word that is safe in every header: letters, digits, ". _ -".
func token(s string, max int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() == max {
			break
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// width is where text is wrapped: what a phone and a terminal both show.
const width = 76

// wrap breaks a line at blanks. Words longer than a line, such as links, stay whole.
func wrap(indent int, s string) string {
	var b strings.Builder
	pad := strings.Repeat(" ", indent)
	column := 0
	for _, word := range strings.Fields(s) {
		n := len([]rune(word))
		switch {
		case column == 0:
		case column+1+n > width:
			b.WriteString("\n" + pad)
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// squeeze leaves one empty line where the template left several.
func squeeze(s string) string {
	for strings.Contains(s, "\n\n\n") {
		s = strings.ReplaceAll(s, "\n\n\n", "\n\n")
	}
	return strings.Trim(s, "\n") + "\n"
}
