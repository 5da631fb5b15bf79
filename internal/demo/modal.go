package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"callchain/notifiers/inbox"
)

// modalView is a form that a member has open.
type modalView struct {
	ID, Key string // the view's, and the card's on the page
	Who     string
	Title   string
	Blocks  []modalBlock
	Submit  string // "": it only says something
	Close   string
	Wrong   string // of the form as a whole
}

// modalBlock is a text, or a field.
type modalBlock struct {
	HTML  template.HTML
	Field *fieldView
}

type fieldView struct {
	Name, Kind  string // the name is that of its block
	Label, Hint string
	Optional    bool
	Wrong       string
	Value       string
	Max         int
	Options     []choice // of radio buttons and checkboxes
	Groups      []choiceGroup
}

type choice struct {
	Value, Label string
	On           bool
}

type choiceGroup struct {
	Label   string
	Options []choice
}

// modals are the forms that are open.
func (p *page) modals() []modalView {
	n := names(p.name)
	var out []modalView
	for _, v := range p.cfg.Inbox.Views() {
		out = append(out, modal(v, n))
	}
	return out
}

type rawOption struct {
	Text  textObject `json:"text"`
	Value string     `json:"value"`
}

func modal(v inbox.View, n names) modalView {
	var content struct {
		Title, Submit, Close textObject
		Blocks               []struct {
			Type     string
			ID       string `json:"block_id"`
			Text     textObject
			Label    textObject
			Hint     textObject
			Optional bool
			Element  struct {
				Type    string
				Options []rawOption
				Groups  []struct {
					Label   textObject
					Options []rawOption
				} `json:"option_groups"`
				Initial rawOption `json:"initial_option"`
				Text    string    `json:"initial_value"`
				At      int64     `json:"initial_date_time"`
				Max     int       `json:"max_length"`
				Lines   bool      `json:"multiline"`
			}
		}
	}
	json.Unmarshal(v.Content, &content) // was checked when it came
	out := modalView{
		ID: v.ID, Key: "v-" + v.ID, Who: n(v.User), Title: content.Title.Text, Submit: content.Submit.Text, Close: content.Close.Text, Wrong: v.Errors[""],
	}
	if out.Close == "" {
		out.Close = "Close"
	}
	for _, b := range content.Blocks {
		if b.Type != "input" {
			out.Blocks = append(out.Blocks, modalBlock{HTML: b.Text.html(n)})
			continue
		}
		e := b.Element
		f := fieldView{Name: b.ID, Kind: e.Type, Label: b.Label.Text, Hint: b.Hint.Text, Optional: b.Optional, Wrong: v.Errors[b.ID], Max: e.Max, Value: e.Text}
		chosen := []string{e.Initial.Value}
		if e.At > 0 {
			f.Value = strconv.FormatInt(e.At, 10)
		}
		// What was filled in stays when the form is drawn anew.
		if filled, ok := v.Filled[b.ID]; ok {
			chosen = filled
			f.Value = strings.Join(filled, "")
		}
		if e.Type == "plain_text_input" && e.Lines {
			f.Kind = "lines"
		}
		choices := func(list []rawOption) []choice {
			var out []choice
			for _, o := range list {
				out = append(out, choice{o.Value, o.Text.Text, slices.Contains(chosen, o.Value)})
			}
			return out
		}
		f.Options = choices(e.Options)
		for _, g := range e.Groups {
			f.Groups = append(f.Groups, choiceGroup{g.Label.Text, choices(g.Options)})
		}
		if e.Type == "static_select" && len(f.Options) > 0 {
			f.Groups = append(f.Groups, choiceGroup{"", f.Options})
		}
		out.Blocks = append(out.Blocks, modalBlock{Field: &f})
	}
	return out
}

// fieldPrefix marks what belongs to a form of Slack's among the page's own fields.
const fieldPrefix = "f."

// form sends a form off, or closes it.
func (p *page) form(r *http.Request) (string, error) {
	id := r.PostForm.Get("view")
	views := p.cfg.Inbox.Views()
	i := slices.IndexFunc(views, func(v inbox.View) bool { return v.ID == id })
	if i < 0 {
		return "", inbox.ErrNoView
	}
	who, title := p.name(views[i].User), modal(views[i], names(p.name)).Title
	if r.PostForm.Get("do") != "submit" {
		p.cfg.Inbox.Dismiss(id)
		return fmt.Sprintf("%s closed “%s”.", who, title), nil
	}
	values := map[string][]string{}
	for name, list := range r.PostForm {
		block, ok := strings.CutPrefix(name, fieldPrefix)
		if !ok {
			continue
		}
		// A date with a time comes as it was typed, by the clock of the browser.
		for j, value := range list {
			if at, err := time.Parse("2006-01-02T15:04", value); err == nil {
				behind, _ := strconv.Atoi(r.PostForm.Get("behind")) // minutes behind UTC; without script none
				list[j] = strconv.FormatInt(at.Add(time.Duration(behind)*time.Minute).Unix(), 10)
			}
		}
		values[block] = list
	}
	status, err := p.cfg.Inbox.Submit(r.Context(), id, values)
	switch {
	case errors.Is(err, inbox.ErrNoView), errors.Is(err, inbox.ErrNoSubmit):
		return "", err
	case errors.Is(err, inbox.ErrIncomplete):
		return fmt.Sprintf("“%s” is not complete.", title), nil
	case err != nil && status == http.StatusOK:
		return fmt.Sprintf("%s sent “%s” off, and the answer was not what Slack takes: %v", who, title, err), nil
	case err != nil || status != http.StatusOK:
		return fmt.Sprintf("%s sent “%s” off: callchain did not take it. Slack says so in the form.", who, title), nil //nolint:nilerr // it is what the page says
	}
	return fmt.Sprintf("%s sent “%s” off.", who, title), nil
}

// command types a slash command as a member.
func (p *page) command(r *http.Request) (string, error) {
	text, user := strings.TrimSpace(r.PostForm.Get("text")), r.PostForm.Get("user")
	command, rest, _ := strings.Cut(text, " ")
	if !strings.HasPrefix(command, "/") {
		command, rest = "/callchain", text
	}
	status, err := p.cfg.Inbox.Command(r.Context(), user, command, strings.TrimSpace(rest))
	who := p.name(user)
	switch {
	case errors.Is(err, inbox.ErrNotSeen):
		return "", err
	case err != nil:
		return fmt.Sprintf("%s typed %s: Slack shows no answer: %v", who, text, err), nil
	case status != http.StatusOK:
		return fmt.Sprintf("%s typed %s: callchain answered %d. Slack shows a failure.", who, text, status), nil
	}
	return fmt.Sprintf("%s typed %s. Only %s sees the answer.", who, text, who), nil
}

// shown leads a browser back to whose messages it showed.
func shown(form url.Values) string {
	if show := form.Get("show"); show != "" {
		return "/?show=" + url.QueryEscape(show)
	}
	return "/"
}
