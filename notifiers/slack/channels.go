package slack

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// A catalog names channels as people do, "#sre". Messages go by the channel's id,
// which stays when somebody renames the channel: it is learnt from the answer to
// the first message, and from the list of channels, in which a renamed one still
// has its earlier names.

// named tells a channel's name, which has no capitals, from an id of Slack's.
func named(address string) bool { return address != "" && !anyID.MatchString(address) }

var anyID = regexp.MustCompile(`^[A-Z][A-Z0-9]+$`)

// target is where a message to an address goes: the channel's id, once it is known.
func (n *Notifier) target(address string) string {
	if !named(address) {
		return address
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return cmp.Or(n.places[address].value.ID, address)
}

// place is what is known of a channel; ok: and may be believed.
func (n *Notifier) place(address string) (p Place, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.places[address]
	return known.value, time.Now().Before(known.until)
}

// rememberPlaces is how long what Slack said of a channel is believed: a little
// longer than it takes until it is asked again.
const rememberPlaces = 20 * time.Minute

// relistEvery bounds how often channels are listed because a certain one was not found.
const relistEvery = time.Minute

// moved looks for a channel that Slack did not find, and tells whether its id is
// another one than was thought.
func (n *Notifier) moved(ctx context.Context, address string) bool {
	if !named(address) {
		return false
	}
	n.mu.Lock()
	last, ok := n.listed[address]
	soon := ok && time.Since(last) < relistEvery
	if !soon {
		n.listed[address] = time.Now()
	}
	n.mu.Unlock()
	if soon {
		return false
	}
	before := n.target(address)
	ctx, cancel := context.WithTimeout(ctx, lookUpTime)
	defer cancel()
	_, _ = n.locate(ctx, []string{address}) // what is not found is as it was
	return n.target(address) != before
}

// locate finds channels and remembers them. It returns those that are certainly
// not there, for the bot's eyes.
func (n *Notifier) locate(ctx context.Context, addresses []string) (absent []string, err error) {
	found, err := n.Places(ctx, addresses)
	for _, a := range addresses {
		known, _ := n.place(a)
		p, ok := found[a]
		if !ok && err == nil && named(a) && known.ID != "" {
			// Renamed, and the list does not say what it was called before.
			if byID, e := n.Places(ctx, []string{known.ID}); e == nil {
				p, ok = byID[known.ID]
			}
		}
		switch {
		case ok:
			p.Guests = known.Guests && known.ID == p.ID
			n.mu.Lock()
			n.places[a] = remembered[Place]{p, time.Now().Add(rememberPlaces)}
			n.mu.Unlock()
		case err == nil:
			absent = append(absent, a)
		}
	}
	return absent, err
}

// Trouble is something about a channel that a person should know.
type Trouble struct {
	Channel string // as the catalog names it
	Kind    string // absent, archived, outside, renamed or outsiders
	Text    string
}

// Watch looks at the channels that boards go to, and says what is wrong with them.
// Secrets: some alerts are confidential, so that it counts who reads along.
func (n *Notifier) Watch(ctx context.Context, addresses []string, secrets bool) ([]Trouble, error) {
	absent, err := n.locate(ctx, addresses)
	if secrets {
		err = errors.Join(err, n.seeGuests(ctx, addresses))
	}
	public := true // posting without being a member is allowed, or it is not known
	if who, e := n.Identify(ctx); e == nil && who.Told {
		public = slices.Contains(who.Scopes, "chat:write.public")
	}
	var all []Trouble
	for _, a := range addresses {
		p, ok := n.place(a)
		say := func(kind, text string) { all = append(all, Trouble{Channel: a, Kind: kind, Text: text}) }
		switch {
		case slices.Contains(absent, a):
			say("absent", "There is no such channel, or it is private and callchain was not invited.")
		case !ok:
		case p.Archived:
			say("archived", "The channel is archived. Name another one in the catalog, or unarchive it.")
		case !p.Member && (p.Private || !public):
			say("outside", "callchain is not in the channel and may not post there. Invite it.")
		}
		if ok && p.Renamed(a) {
			say("renamed", "The channel is called #"+p.Name+" by now. Messages still go there; correct the name in the catalog before somebody makes a new channel of the old name.")
		}
		if ok && secrets && (p.External || p.Guests) {
			who := "guests"
			if p.External {
				who = "people of another organisation"
			}
			say("outsiders", "The channel is read by "+who+". Confidential alerts are not shown there.")
		}
	}
	return all, err
}

// errOutsiders is why a confidential alert is not posted.
var errOutsiders = errors.New("slack: guests or people of another organisation read this channel, and the alert is confidential")

// keepsFrom tells whether a message must not be posted at all because its incident
// is confidential and outsiders read the channel. A message that is there already
// is edited to say nothing more. What Slack does not tell is no reason to stay silent.
func (n *Notifier) keepsFrom(ctx context.Context, m *notifiers.Message) bool {
	if !m.Incident.Confidential || m.Kind != notifiers.Board && m.Kind != notifiers.Thread {
		return false
	}
	if !n.outsiders(ctx, cmp.Or(m.Address, m.Ref.Channel)) {
		return false
	}
	if m.Edit {
		m.Incident.Conceal()
		return false
	}
	return true
}

// outsiders tells whether others than the organisation's own people read a channel.
func (n *Notifier) outsiders(ctx context.Context, address string) bool {
	if address == "" || !named(address) && address[0] != 'C' && address[0] != 'G' {
		return false // of one person
	}
	p, ok := n.place(address)
	if !ok && !n.lacks("info") {
		ctx, cancel := context.WithTimeout(ctx, lookUpTime)
		defer cancel()
		if _, err := n.locate(ctx, []string{address}); MissingScope(err) {
			n.mu.Lock()
			n.lacking["info"] = time.Now().Add(lackingTime)
			n.mu.Unlock()
		}
		p, _ = n.place(address)
	}
	return p.External || p.Guests
}

// seeGuests finds out in which channels there are guests. Slack tells neither of a
// channel; it tells who is a guest, and who is in a channel.
func (n *Notifier) seeGuests(ctx context.Context, addresses []string) error {
	byID, byEmail := map[string]User{}, map[string]User{}
	n.members1000(ctx, byID, byEmail)
	if len(byID) == 0 {
		return errors.New("slack: the members cannot be listed, so it is not known in which channels there are guests")
	}
	var failed error
	for _, a := range addresses {
		p, ok := n.place(a)
		if !ok {
			continue
		}
		guests := false
		for cursor := ""; !guests; {
			var page []string
			err := n.ask(ctx, func(api *slack.Client) (err error) {
				page, cursor, err = api.GetUsersInConversationContext(ctx, &slack.GetUsersInConversationParameters{ChannelID: p.ID, Cursor: cursor, Limit: 1000})
				return err
			})
			if err != nil {
				failed = err
				guests = p.Guests // as it was
				break
			}
			for _, id := range page {
				guests = guests || byID[id].Guest || byID[id].Stranger
			}
			if cursor == "" {
				break
			}
		}
		n.mu.Lock()
		if q, ok := n.places[a]; ok {
			q.value.Guests = guests
			n.places[a] = q
		}
		n.mu.Unlock()
	}
	return failed
}
