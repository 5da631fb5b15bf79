package online

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/escalation/store/bolt"
	"callchain/escalation/store/redis"
	"callchain/notifiers"
	"callchain/notifiers/slack"
)

// expiresSoon is how long before its end a certificate is worth a word.
const expiresSoon = 14 * 24 * time.Hour

// email goes to the smarthost as a mail would.
func (w World) email(ctx context.Context) (s section) {
	m := w.Config.Notifiers.Email
	how, err := w.Email.Rehearse(ctx)
	if err != nil {
		s.errorf(m.Smarthost.Pos, "notifiers.email: smarthost %s: %s; no mail leaves", m.Smarthost.V, strings.TrimPrefix(err.Error(), "e-mail: "))
		return s
	}
	channel := "unencrypted"
	if how.TLS {
		channel = "over TLS"
	}
	s.notef("e-mail: %s takes mails from %s, %s", m.Smarthost.V, m.From.V, channel)
	certificate(&s, m, how.Expires, time.Now())
	return s
}

// certificate warns of the smarthost's that ends soon.
func certificate(s *section, m *config.Email, ends, now time.Time) {
	if left := ends.Sub(now); !ends.IsZero() && left < expiresSoon {
		s.warnf(m.Smarthost.Pos, "notifiers.email: the certificate of %s ends on %s, in %s; after that no mail leaves: have it renewed",
			m.Smarthost.V, ends.UTC().Format(time.DateOnly), days(left))
	}
}

func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 0 {
		return count(n, "day", "days")
	}
	return "less than a day"
}

// place is the first that stands in the file: what is left out has a default, and
// no place.
func (w World) place(all ...config.Pos) config.Pos {
	for _, p := range all {
		if p.Line != 0 {
			return p
		}
	}
	return config.Pos{File: w.Config.File}
}

// store looks at what the daemon would open.
func (w World) store(ctx context.Context) (s section) {
	c := w.Config.Store
	if w.Redis == nil {
		if err := bolt.Inspect(c.Path.V); err != nil {
			s.errorf(w.place(c.Path.Pos, c.Pos), "store.path: %v; callchain, started as the user who asks here, would not come up", err)
			return s
		}
		s.notef("store: %s can be written", c.Path.V)
		return s
	}
	pos := w.place(c.Redis.Pos, c.Pos)
	if len(c.Redis.Addrs) > 0 {
		pos = w.place(c.Redis.Addrs[0].Pos, pos)
	}
	warnings, err := redis.Inspect(ctx, *w.Redis)
	if err != nil {
		s.errorf(pos, "store.redis: %v; callchain would not come up", err)
		return s
	}
	s.notef("store: Redis at %s answers", strings.Join(w.Redis.Addrs, ", "))
	for _, warning := range warnings {
		s.warnf(pos, "store.redis: %s", warning)
	}
	return s
}

// slack looks at the workspace with the eyes of the bot.
func (w World) slack(ctx context.Context) (s section) {
	at := w.Config.Notifiers.Slack
	who, err := w.Slack.Identify(ctx)
	if err != nil {
		s.errorf(at.BotTokenFile.Pos, "notifiers.slack: %v; nothing goes to Slack", err)
		return s
	}
	s.notef("Slack: the token is that of %s in the workspace %s", who.Bot, who.Team)
	l := look{section: &s, w: w, who: who}
	l.scopes()
	var channels, people, groups section
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.channels(ctx, &channels)
		l.groups(ctx, &groups)
	}()
	l.people(ctx, &people)
	<-done
	for _, part := range []section{channels, groups, people} {
		s.problems = append(s.problems, part.problems...)
		s.checked = append(s.checked, part.checked...)
	}
	return s
}

// unseen says what a look at the workspace cannot tell.
func (w World) unseen(context.Context) (s section) {
	s.notef("Slack: whether presses come back cannot be seen from here; callchain doctor slack --test-page PERSON tells")
	return s
}

// look is the look at one workspace.
type look struct {
	*section
	w   World
	who slack.Identity
}

func (l look) may(scope string) bool { return slices.Contains(l.who.Scopes, scope) }

// scopes holds those that were granted against those that are needed.
func (l look) scopes() {
	pos := l.w.Config.Notifiers.Slack.BotTokenFile.Pos
	if !l.who.Told {
		l.warnf(pos, "notifiers.slack: the answer names no scopes (X-OAuth-Scopes), so what the app may do was not checked")
		return
	}
	byEmail := slices.ContainsFunc(l.w.Catalog.People, func(p config.Person) bool { return bySlack(p) && p.Slack.V == "" })
	addresses := len(l.addresses()) > 0
	// Those that are not here are needed always.
	wanted := map[string]bool{
		"users:read.email": byEmail, "channels:read": addresses, "groups:read": addresses,
		"usergroups:read":   len(l.usergroups()) > 0,
		"chat:write.public": false,                          // what it buys is said of each channel that needs it
		"channels:history":  false, "groups:history": false, // a matter of taste
	}
	for _, scope := range slack.Scopes {
		if needed, ok := wanted[scope.Name]; ok && !needed || l.may(scope.Name) {
			continue
		}
		say := l.warnf
		if scope.Vital {
			say = l.errorf
		}
		say(pos, "notifiers.slack: the app lacks the scope %s: %s; add it in the app's settings and install the app again", scope.Name, scope.Without)
	}
}

// named is a name in the configuration, and what it is for.
type named struct {
	config.At[string]
	what string
}

// addresses are the channels that are configured.
func (l look) addresses() []named {
	var all []named
	add := func(at config.At[string], what string) {
		if at.V != "" {
			all = append(all, named{at, what})
		}
	}
	add(l.w.Config.Notifiers.Slack.Channel, "notifiers.slack.channel")
	if weekly := l.w.Config.Reports.Weekly; weekly != nil {
		add(weekly.SlackChannel, "reports.weekly.slack_channel")
	}
	for _, t := range l.w.Catalog.Teams {
		add(t.SlackChannel, "slack_channel of team "+t.Name.V)
	}
	return all
}

func (l look) usergroups() []named {
	var all []named
	for _, t := range l.w.Catalog.Teams {
		if t.SlackUsergroup.V != "" {
			all = append(all, named{t.SlackUsergroup, "slack_usergroup of team " + t.Name.V})
		}
	}
	return all
}

func names(all []named) []string {
	var out []string
	for _, n := range all {
		out = append(out, n.V)
	}
	return unique(out)
}

// channels looks whether the boards and the report can be posted.
func (l look) channels(ctx context.Context, s *section) {
	wanted := l.addresses()
	if len(wanted) == 0 {
		return
	}
	found, err := l.w.Slack.Places(ctx, names(wanted))
	good := 0
	for _, c := range wanted {
		place, ok := found[c.V]
		switch {
		case !ok && err != nil:
			continue
		case !ok:
			s.errorf(c.Pos, "%s: Slack has no channel %s that callchain can see; correct the name, or invite callchain if it is a private channel", c.what, c.V)
			continue
		case place.Archived:
			s.errorf(c.Pos, "%s: the channel %s is archived, nothing can be posted there; unarchive it or name another", c.what, c.V)
			continue
		case !place.Member && place.Private:
			s.errorf(c.Pos, "%s: callchain is not in the private channel %s; invite it", c.what, c.V)
			continue
		case !place.Member && l.who.Told && !l.may("chat:write.public"):
			s.errorf(c.Pos, "%s: callchain is not in the channel %s and may not post without; invite it, or give the app the scope chat:write.public", c.what, c.V)
			continue
		case !place.Member && !l.who.Told:
			s.warnf(c.Pos, "%s: callchain is not in the channel %s; invite it, unless the app has the scope chat:write.public", c.what, c.V)
		}
		if place.Renamed(c.V) {
			s.warnf(c.Pos, "%s: the channel %s is called #%s by now; it is still found, until somebody makes a new channel of the old name: correct it", c.what, c.V, place.Name)
		}
		if place.External {
			s.warnf(c.Pos, "%s: people of other organisations are in the channel %s and read what is posted there", c.what, c.V)
		}
		good++
	}
	if err == nil || good > 0 {
		s.notef("Slack: %d of %s can be posted to", good, count(len(wanted), "channel named", "channels named"))
	}
	if err != nil && (!slack.MissingScope(err) || !l.who.Told) {
		s.warnf(wanted[0].Pos, "%s: whether Slack has the channels was not checked: %v", wanted[0].what, err)
	}
}

// groups looks whether a mention of the teams' user groups reaches anybody.
func (l look) groups(ctx context.Context, s *section) {
	wanted := l.usergroups()
	if len(wanted) == 0 {
		return
	}
	found, err := l.w.Slack.Groups(ctx)
	if err != nil {
		if !slack.MissingScope(err) || !l.who.Told {
			s.warnf(wanted[0].Pos, "%s: whether Slack has the user groups was not checked: %v", wanted[0].what, err)
		}
		return
	}
	for _, g := range wanted {
		group, ok := found[g.V]
		switch {
		case !ok:
			s.warnf(g.Pos, "%s: Slack has no user group %s; the board mentions nobody", g.what, g.V)
		case group.Disabled:
			s.warnf(g.Pos, "%s: the user group %s (@%s) is disabled; the board mentions nobody", g.what, g.V, group.Handle)
		case group.Members == 0:
			s.warnf(g.Pos, "%s: the user group %s (@%s) is empty; the board mentions nobody", g.what, g.V, group.Handle)
		}
	}
}

// bySlack tells whether somebody is paged in Slack.
func bySlack(p config.Person) bool {
	return len(p.Contact) == 0 || slices.ContainsFunc(p.Contact, func(c config.At[string]) bool { return c.V == notifiers.Slack })
}

// people looks whether Slack knows everybody who would be paged there.
func (l look) people(ctx context.Context, s *section) {
	var people []config.Person
	var sought []slack.Sought
	for _, p := range l.w.Catalog.People {
		if bySlack(p) && (p.Slack.V != "" || p.Email.V != "") {
			people = append(people, p)
			sought = append(sought, slack.Sought{ID: p.Slack.V, Email: p.Email.V})
		}
	}
	if len(people) == 0 {
		return
	}
	var unasked []string
	var because error
	owner := map[string]string{} // member id -> who has it
	good := 0
	for i, f := range l.w.Slack.Members(ctx, sought) {
		p := people[i]
		pos, key := p.Slack.Pos, "slack id "+p.Slack.V
		if p.Slack.V == "" {
			pos, key = p.Email.Pos, "e-mail address "+p.Email.V
		}
		if f.Err != nil {
			unasked, because = append(unasked, p.Name.V), f.Err
			continue
		}
		report := func(what, remedy string) {
			say, rest := s.warnf, "they still get mails"
			if l.w.Config.Notifiers.Email == nil || p.Email.V == "" {
				say, rest = s.errorf, "they have no other channel, so nobody is woken"
			}
			say(pos, "person %s: %s; %s (%s)", p.Name.V, what, remedy, rest)
		}
		switch u := f.User; {
		case f.Absent:
			report(fmt.Sprintf("Slack knows nobody with the %s", key), "correct it, or remove them if they left")
		case u.Deleted:
			report(fmt.Sprintf("the Slack account with the %s is deactivated", key), "remove them if they left, or correct it")
		case u.Bot:
			report(fmt.Sprintf("the %s is that of a bot", key), "correct it")
		case u.Stranger:
			s.warnf(pos, "person %s: the %s is that of somebody of another organisation, who cannot acknowledge in Slack", p.Name.V, key)
		case u.Guest:
			s.warnf(pos, "person %s: the %s is that of a guest; guests are paged, but cannot acknowledge in Slack: make them a full member, or they use the link in the mail", p.Name.V, key)
		case owner[u.ID] != "":
			s.warnf(pos, "person %s: the %s is that of %s too; one of them is not who answers", p.Name.V, key, owner[u.ID])
		default:
			good++
		}
		if f.User.ID != "" && owner[f.User.ID] == "" {
			owner[f.User.ID] = p.Name.V
		}
	}
	s.notef("Slack: %d of %s can be paged there and answer there", good, count(len(people), "person", "people"))
	if len(unasked) > 0 {
		s.warnf(l.w.Config.Notifiers.Slack.Pos, "notifiers.slack: %s not looked up in Slack (%s): %v",
			count(len(unasked), "person was", "people were"), together(unasked), because)
	}
}
