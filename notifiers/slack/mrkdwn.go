package slack

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"callchain/notifiers"
)

// mrkdwn is text in Slack's markup. It is made by escape from anybody's text,
// by mention, group and link from checked parts, and from constants: nothing
// else in this package converts to it.
type mrkdwn string

var control = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// escape makes text inert: Slack's mentions, links and dates all begin with "<".
func escape(s string) mrkdwn {
	return mrkdwn(control.Replace(strings.ToValidUTF8(s, "\uFFFD")))
}

// Slack's ids of members (U, in an Enterprise Grid W) and of user groups (S).
var (
	memberID = regexp.MustCompile(`^[UW][A-Z0-9]{1,30}$`)
	groupID  = regexp.MustCompile(`^S[A-Z0-9]{1,30}$`)
)

// mention notifies the member; text that is no member id is shown as it is.
func mention(member, name string) mrkdwn {
	if !memberID.MatchString(member) {
		return escape(name)
	}
	return mrkdwn("<@" + member + ">")
}

// group notifies a user group; "" if it is no group id.
func group(usergroup string) mrkdwn {
	if !groupID.MatchString(usergroup) {
		return ""
	}
	return mrkdwn("<!subteam^" + usergroup + ">")
}

// link is a link with a text. The URL must come from notifiers.Link, which
// leaves no character in it that could end the link.
func link(url, text string) mrkdwn {
	if strings.ContainsAny(url, "<>| ") {
		return escape(text)
	}
	return mrkdwn("<") + escape(url) + "|" + escape(strings.ReplaceAll(text, "|", "/")) + ">"
}

// date shows an instant by the reader's own clock and in UTC; where that cannot
// be done, in UTC alone. It is made of digits and our own words.
func date(t, now time.Time) mrkdwn {
	utc := notifiers.UTC(t, now)
	own := "{time}"
	if !strings.HasPrefix(utc, t.UTC().Format("15:04")) {
		own = "{date_short_pretty} {time}"
	}
	return mrkdwn(fmt.Sprintf("<!date^%d^%s your time (%s)|%s>", t.Unix(), own, utc, utc))
}

func bold(m mrkdwn) mrkdwn {
	if m == "" {
		return ""
	}
	return "*" + m + "*"
}

func joined(sep mrkdwn, parts ...mrkdwn) mrkdwn {
	var out mrkdwn
	for _, p := range parts {
		if p == "" {
			continue
		}
		if out != "" {
			out += sep
		}
		out += p
	}
	return out
}

// truncate cuts to max characters, never inside an entity (&amp;) or inside
// markup (<@U1>): half of one would be shown, or would swallow what follows.
func truncate(m mrkdwn, max int) mrkdwn {
	if utf8.RuneCountInString(string(m)) <= max {
		return m
	}
	if max < 1 {
		return ""
	}
	cut, n := 0, 0
	for i := range string(m) {
		if n == max-1 {
			cut = i
			break
		}
		n++
	}
	head := m[:cut]
	if open := strings.LastIndexByte(string(head), '<'); open >= 0 && !strings.Contains(string(head[open:]), ">") {
		head = head[:open]
	}
	if amp := strings.LastIndexByte(string(head), '&'); amp >= 0 && !strings.Contains(string(head[amp:]), ";") {
		head = head[:amp]
	}
	return head + "…"
}
