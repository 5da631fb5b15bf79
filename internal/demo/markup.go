package demo

import (
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// block is a block of a message as the page shows it.
type block struct {
	Kind     string // header, text, fields, context, actions, divider
	HTML     template.HTML
	Parts    []template.HTML
	Controls []control
}

// control is something to press.
type control struct {
	Label, Aria string
	Do          string // what the form sends
	Style       string // primary, danger
	Confirm     string
	URL         string // a link button
	Options     []control
}

// names turns member and channel ids into what people call them.
type names func(id string) string

type textObject struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (t textObject) html(n names) template.HTML {
	if t.Type == "plain_text" {
		return lines(html.EscapeString(t.Text))
	}
	return mrkdwn(t.Text, n)
}

type element struct {
	Type   string     `json:"type"`
	Text   rawText    `json:"text"`
	Action string     `json:"action_id"`
	Style  rawText    `json:"style"`
	URL    string     `json:"url"`
	Label  string     `json:"accessibility_label"`
	Place  textObject `json:"placeholder"`
	Alt    string     `json:"alt_text"`

	Confirm *struct {
		Title, Text textObject
	} `json:"confirm"`
	Options []struct {
		Text  textObject `json:"text"`
		Value string     `json:"value"`
		URL   string     `json:"url"`
	} `json:"options"`

	// rich text
	Elements []element `json:"elements"`
	UserID   string    `json:"user_id"`
	Name     string    `json:"name"`
	Stamp    int64     `json:"timestamp"`
	Fallback string    `json:"fallback"`
}

// rawText is a string in rich text and an object elsewhere.
type rawText struct {
	textObject
	flags map[string]bool // of a rich text's style
}

// UnmarshalJSON takes each of the forms that Slack has for the same key.
func (r *rawText) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &r.Text) == nil {
		return nil
	}
	if json.Unmarshal(b, &r.textObject) == nil && r.Text != "" {
		return nil
	}
	json.Unmarshal(b, &r.flags) // what is none of them is shown as nothing
	return nil
}

// blocks renders what a message says.
func blocks(raw json.RawMessage, fallback string, n names) []block {
	var list []struct {
		Type      string       `json:"type"`
		Text      textObject   `json:"text"`
		Fields    []textObject `json:"fields"`
		Accessory *element     `json:"accessory"`
		Elements  []element    `json:"elements"`
	}
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return []block{{Kind: "text", HTML: mrkdwn(fallback, n)}}
	}
	var out []block
	for _, b := range list {
		switch b.Type {
		case "header":
			out = append(out, block{Kind: "header", HTML: b.Text.html(n)})
		case "section":
			one := block{Kind: "text", HTML: b.Text.html(n)}
			for _, f := range b.Fields {
				one.Parts = append(one.Parts, f.html(n))
			}
			if b.Accessory != nil {
				one.Controls = controls([]element{*b.Accessory})
			}
			out = append(out, one)
		case "context":
			one := block{Kind: "context"}
			for _, e := range b.Elements {
				if e.Type == "image" {
					one.Parts = append(one.Parts, template.HTML(html.EscapeString(e.Alt)))
					continue
				}
				one.Parts = append(one.Parts, textObject{e.Type, e.Text.Text}.html(n))
			}
			out = append(out, one)
		case "actions":
			out = append(out, block{Kind: "actions", Controls: controls(b.Elements)})
		case "divider":
			out = append(out, block{Kind: "divider"})
		case "rich_text":
			out = append(out, block{Kind: "text", HTML: rich(b.Elements, n)})
		}
	}
	return out
}

func controls(list []element) []control {
	var out []control
	for _, e := range list {
		c := control{Label: e.Text.Text, Aria: e.Label, Style: e.Style.Text, URL: webURL(e.URL)}
		if e.Confirm != nil {
			c.Confirm = strings.TrimSpace(e.Confirm.Title.Text + "\n" + e.Confirm.Text.Text)
		}
		c.Do = url.Values{"a": {e.Action}, "l": {c.Label}}.Encode()
		if len(e.Options) > 0 {
			c.Label = e.Place.Text
			if c.Label == "" {
				c.Label, c.Aria = "⋯", "More actions"
			}
			for _, o := range e.Options {
				c.Options = append(c.Options, control{
					Label: o.Text.Text, URL: webURL(o.URL), Confirm: c.Confirm,
					Do: url.Values{"a": {e.Action}, "v": {o.Value}, "l": {o.Text.Text}}.Encode(),
				})
			}
		}
		if c.Label != "" {
			out = append(out, c)
		}
	}
	return out
}

// webURL returns a URL that a browser may be led to, "" for any other.
func webURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"http", "https"}, u.Scheme) || u.Host == "" {
		return ""
	}
	return u.String()
}

func lines(escaped string) template.HTML {
	return template.HTML(strings.ReplaceAll(escaped, "\n", "<br>"))
}

func link(to, text string) string {
	return `<a href="` + html.EscapeString(to) + `" target="_blank" rel="noopener noreferrer">` + text + `</a>`
}

func mention(text string) string {
	return `<span class="mention">` + html.EscapeString(text) + `</span>`
}

var (
	fence   = regexp.MustCompile("(?s)```(.*?)```")
	code    = regexp.MustCompile("`([^`\n]+)`")
	token   = regexp.MustCompile(`<([^<>\n]*)>`)
	bold    = emphasis(`\*`)
	italic  = emphasis(`_`)
	strike  = emphasis(`~`)
	kept    = regexp.MustCompile("\x00(\\d+)\x00")
	bare    = regexp.MustCompile(`https?://[^\s<>"']+[^\s<>"'.,;:!?)]`)
	decoder = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")
)

// emphasis matches a mark that opens at the edge of a word and closes at one.
func emphasis(mark string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[\s(\[>])` + mark + `([^\s` + mark + `](?:[^\n` + mark + `]*[^\s` + mark + `])?)` + mark + `($|[\s.,;:!?)\]<])`)
}

// mrkdwn renders Slack's markup. What stands between < and > and in code is put
// aside as finished HTML; of the rest Slack's three entities are decoded and all
// of it is escaped, before any mark of emphasis becomes a tag.
func mrkdwn(text string, n names) template.HTML {
	text = strings.ReplaceAll(text, "\x00", "")
	var aside []string
	keep := func(s string) string {
		aside = append(aside, s)
		return fmt.Sprintf("\x00%d\x00", len(aside)-1)
	}
	verbatim := func(s string) string { return html.EscapeString(decoder.Replace(s)) }
	text = fence.ReplaceAllStringFunc(text, func(m string) string {
		return keep("<pre>" + verbatim(strings.Trim(m[3:len(m)-3], "\n")) + "</pre>")
	})
	text = code.ReplaceAllStringFunc(text, func(m string) string {
		return keep("<code>" + verbatim(m[1:len(m)-1]) + "</code>")
	})
	text = token.ReplaceAllStringFunc(text, func(m string) string { return keep(special(m[1:len(m)-1], n)) })
	text = verbatim(text)
	for _, e := range []struct {
		mark *regexp.Regexp
		tag  string
	}{{bold, "b"}, {italic, "i"}, {strike, "s"}} {
		text = e.mark.ReplaceAllString(text, "$1<"+e.tag+">$2</"+e.tag+">$3")
	}
	quoted := strings.Split(text, "\n")
	for i, l := range quoted {
		if rest, ok := strings.CutPrefix(l, "&gt;"); ok {
			quoted[i] = `<span class="quote">` + rest + `</span>`
		}
	}
	out := strings.ReplaceAll(strings.Join(quoted, "\n"), "\n", "<br>")
	// Code that held a token holds its place mark: put back until none is left.
	for range 3 {
		out = kept.ReplaceAllStringFunc(out, func(m string) string {
			i, err := strconv.Atoi(strings.Trim(m, "\x00"))
			if err != nil || i >= len(aside) {
				return ""
			}
			return aside[i]
		})
	}
	return template.HTML(out)
}

// special renders what stands between < and >: a mention, a time or a link.
func special(inner string, n names) string {
	target, label, labelled := strings.Cut(inner, "|")
	label = decoder.Replace(label)
	or := func(fallback string) string {
		if labelled {
			return label
		}
		return fallback
	}
	switch {
	case strings.HasPrefix(target, "@"):
		return mention("@" + n(target[1:]))
	case strings.HasPrefix(target, "#"):
		return mention("#" + strings.TrimPrefix(or(n(target[1:])), "#"))
	case strings.HasPrefix(target, "!subteam^"):
		return mention("@" + strings.TrimPrefix(or(strings.TrimPrefix(target, "!subteam^")), "@"))
	case strings.HasPrefix(target, "!date^"):
		parts := strings.SplitN(target, "^", 4)
		if unix, err := strconv.ParseInt(parts[1], 10, 64); err == nil && len(parts) > 2 {
			return instant(unix, parts[2], label)
		}
		return html.EscapeString(label)
	case strings.HasPrefix(target, "!"):
		return mention("@" + or(target[1:]))
	}
	if to := webURL(decoder.Replace(target)); to != "" {
		return link(to, html.EscapeString(or(to)))
	}
	return html.EscapeString(or(decoder.Replace(target)))
}

// instant writes a time as Slack would; the script puts it into the reader's zone.
func instant(unix int64, format, fallback string) string {
	t := time.Unix(unix, 0).UTC()
	if fallback == "" {
		fallback = t.Format("15:04 UTC")
	}
	return `<time datetime="` + t.Format(time.RFC3339) + `" data-format="` + html.EscapeString(format) + `">` + html.EscapeString(fallback) + `</time>`
}

// rich renders a rich text block's elements.
func rich(list []element, n names) template.HTML {
	var b strings.Builder
	for _, e := range list {
		inner := string(rich(e.Elements, n))
		switch e.Type {
		case "rich_text_section":
			b.WriteString(`<span class="line">` + inner + `</span>`)
		case "rich_text_list":
			items := ""
			for _, item := range e.Elements {
				items += "<li>" + string(rich([]element{item}, n)) + "</li>"
			}
			b.WriteString("<ul>" + items + "</ul>")
		case "rich_text_preformatted":
			b.WriteString("<pre>" + inner + "</pre>")
		case "rich_text_quote":
			b.WriteString(`<span class="quote">` + inner + `</span>`)
		case "link":
			text := e.Text.Text
			if text == "" {
				text = e.URL
			}
			if to := webURL(e.URL); to != "" {
				b.WriteString(link(to, html.EscapeString(text)))
			} else {
				b.WriteString(html.EscapeString(text))
			}
		case "user":
			b.WriteString(mention("@" + n(e.UserID)))
		case "date":
			b.WriteString(instant(e.Stamp, "{time}", e.Fallback))
		case "emoji":
			b.WriteString(":" + html.EscapeString(e.Name) + ":")
		case "text":
			text := string(lines(html.EscapeString(e.Text.Text)))
			for _, style := range []struct{ flag, tag string }{{"bold", "b"}, {"italic", "i"}, {"strike", "s"}, {"code", "code"}} {
				if e.Style.flags[style.flag] {
					text = "<" + style.tag + ">" + text + "</" + style.tag + ">"
				}
			}
			b.WriteString(text)
		}
	}
	return template.HTML(b.String())
}

// plain renders the text part of a mail: its URLs become links.
func plain(text string) template.HTML {
	var b strings.Builder
	for text != "" {
		at := bare.FindStringIndex(text)
		if at == nil {
			break
		}
		b.WriteString(html.EscapeString(text[:at[0]]))
		if to := webURL(text[at[0]:at[1]]); to != "" {
			b.WriteString(link(to, html.EscapeString(text[at[0]:at[1]])))
		} else {
			b.WriteString(html.EscapeString(text[at[0]:at[1]]))
		}
		text = text[at[1]:]
	}
	b.WriteString(html.EscapeString(text))
	return template.HTML(b.String())
}
