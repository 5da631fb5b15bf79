package escalation

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"callchain/config"
	"callchain/routing"
)

// A storm must not bury a person: so many incidents a minute page them, what
// exceeds that is named in one message. Two records are kept of a person, side by
// side: the Desk, which lets pages through and remembers which it let, and a
// digest, which is an Incident of kind Digest whose only deliveries are the
// messages that name its members. Incidents know nothing of it but that a page of
// theirs is in a digest: their timers and their chains run as ever.

// How a digest behaves.
const (
	// admittedFor is how long after a question it need not be counted again.
	admittedFor = 10 * time.Second
	// pageWindow is so much longer than the minute that people are promised.
	pageWindow = time.Minute + admittedFor

	gatherFor   = 2 * time.Second  // from the first incident in excess to the message
	digestEvery = 10 * time.Second // between two edits, and two looks
	ringEvery   = time.Minute      // between two messages that ring
	ringUrgent  = digestEvery      // when what joined is an unbreak now
	joinFor     = 2 * time.Minute  // so long after the last one more join; later ones make a new digest
	keepGens    = 100              // lists that a button or a link can still name
)

// MaxNamed is how many incidents a digest names; the rest are counted.
const MaxNamed = 50

// DigestRetention is how long a digest can be looked up that is over: longer than
// the links in mails are valid.
const DigestRetention = 8 * 24 * time.Hour

// Desk is what is kept of one person to bound how often they are paged.
type Desk struct {
	Schema int      `json:"z"`
	Handle string   `json:"h"`
	Passed []Passed `json:"p,omitempty"` // let through within the last minute, oldest first
	Digest string   `json:"d,omitempty"` // the id of the last digest
}

// Passed is an incident that may page the person.
type Passed struct {
	Incident string  `json:"i"`
	At       Instant `json:"t"`
}

// Many is what a digest names.
type Many struct {
	Members  []Member          `json:"m"`
	Last     int               `json:"q"`           // Seq of the newest member
	Contacts map[string]string `json:"c,omitempty"` // channel -> address, of all channels that it has to go over
	Shown    []int             `json:"s,omitempty"` // Seqs of those named now, in order
	Gist     string            `json:"g,omitempty"` // what is said of them now
	Gens     []Gen             `json:"n,omitempty"` // what its latest revisions asked for, oldest first
	JoinedAt Instant           `json:"j"`
	RungAt   Instant           `json:"r,omitempty"`  // when a message rang last
	Rung     map[string]int    `json:"rq,omitempty"` // Last as of then, by channel
	Again    bool              `json:"ra,omitempty"` // one of its incidents reminds the person
	Urgent   bool              `json:"u,omitempty"`  // an unbreak now joined since it rang
	LookAt   Instant           `json:"l,omitempty"`
}

// Member is an incident of a digest.
type Member struct {
	Seq      int    `json:"q"`           // names it in the lists
	New      int    `json:"n,omitempty"` // Last as of when it paged again; 0: never
	Incident string `json:"i"`
	Page     int    `json:"p,omitempty"` // which of its pages; see Delivery.Nr
	Over     bool   `json:"o,omitempty"` // it asked for no answer when it was looked at last
	Urgent   bool   `json:"u,omitempty"` // an unbreak now when it joined: named before others
}

// Gen is what one revision of a digest asked to acknowledge.
type Gen struct {
	Rev  uint64 `json:"v"`           // and those after it, up to the next's
	Last int    `json:"q"`           // Seq of the newest member then
	Open []int  `json:"o,omitempty"` // Seqs of those it named that were open
}

// Ask is the question whether a page may be sent by itself.
type Ask struct {
	Incident string
	Page     int
	Channel  string
	Address  string
	Urgent   bool
}

// Admit answers questions in their order. An answer is "" when the page may be sent;
// else it is the digest that names its incident. digest is that of the desk, nil if
// it has none; id is for a new one. Asked again, it answers the same.
func (k Desk) Admit(digest *Incident, asks []Ask, now time.Time, limit int, id string) (_ Desk, _ *Incident, in []string) {
	at := At(now)
	if digest != nil && (digest.Many == nil || k.Digest != digest.ID) {
		digest = nil
	}
	if digest != nil {
		own := clone(*digest)
		digest = &own
	}
	k.Schema = Schema
	k.Passed = slices.Clone(k.Passed)
	k.Passed = slices.DeleteFunc(k.Passed, func(p Passed) bool { return at >= p.At.plus(pageWindow) })
	places := digest.places()
	for _, a := range asks {
		if i, ok := places[a.Incident]; ok && digest.Many.Members[i].Page == a.Page {
			digest.join(places, a, at)
			in = append(in, digest.ID)
			continue
		}
		known := slices.IndexFunc(k.Passed, func(p Passed) bool { return p.Incident == a.Incident })
		switch {
		case known >= 0 && at < k.Passed[known].At.plus(admittedFor):
		case known >= 0:
			k.Passed = append(slices.Delete(k.Passed, known, known+1), Passed{a.Incident, at})
		case len(k.Passed) < limit:
			k.Passed = append(k.Passed, Passed{a.Incident, at})
		default:
			if digest == nil || digest.State != Triggered || at >= digest.Many.JoinedAt.plus(joinFor) {
				digest, places = newDigest(id, k.Handle, at), map[string]int{}
				k.Digest = id
			}
			digest.join(places, a, at)
			in = append(in, digest.ID)
			continue
		}
		in = append(in, "")
	}
	return k, digest, in
}

// places are the members of a digest by their incident.
func (inc *Incident) places() map[string]int {
	if inc == nil {
		return nil
	}
	at := make(map[string]int, len(inc.Many.Members))
	for i := range inc.Many.Members {
		at[inc.Many.Members[i].Incident] = i
	}
	return at
}

func (m *Many) clone() *Many {
	if m == nil {
		return nil
	}
	c := *m
	c.Members, c.Gens = slices.Clone(m.Members), slices.Clone(m.Gens)
	c.Contacts, c.Rung = maps.Clone(m.Contacts), maps.Clone(m.Rung)
	if c.Contacts == nil {
		c.Contacts = map[string]string{}
	}
	if c.Rung == nil {
		c.Rung = map[string]int{}
	}
	return &c
}

func newDigest(id, handle string, now Instant) *Incident {
	return &Incident{
		Schema: Schema, ID: id, Kind: Digest, State: Triggered, Urgency: config.Page, OpenedAt: now, Rev: 1,
		Target: routing.Target{Subject: "digest:" + handle, Person: handle},
		Many:   &Many{LookAt: now.plus(gatherFor), Contacts: map[string]string{}, Rung: map[string]int{}},
	}
}

// member finds an incident in a digest; nil if it is not in there.
func (inc *Incident) member(incident string) *Member {
	if inc == nil || inc.Many == nil {
		return nil
	}
	for i := range inc.Many.Members {
		if m := &inc.Many.Members[i]; m.Incident == incident {
			return m
		}
	}
	return nil
}

// join adds an incident to a digest, or a channel to go over.
func (inc *Incident) join(places map[string]int, a Ask, now Instant) {
	many := inc.Many
	i, known := places[a.Incident]
	if !known || many.Members[i].Page != a.Page {
		many.Last++
		if !known {
			places[a.Incident] = len(many.Members)
			many.Members = append(many.Members, Member{Seq: many.Last, Incident: a.Incident, Page: a.Page, Urgent: a.Urgent})
		} else { // its next page: it is new to whoever reads
			m := &many.Members[i]
			m.New, m.Page, m.Over, m.Urgent = many.Last, a.Page, false, a.Urgent
		}
		many.JoinedAt = now
		many.Urgent = many.Urgent || a.Urgent
		many.LookAt = min(many.LookAt, now.plus(digestEvery))
	}
	if many.Contacts[a.Channel] == "" {
		many.Contacts[a.Channel] = cmp.Or(a.Address, lookedUp)
		many.LookAt = min(many.LookAt, now.plus(gatherFor))
	}
}

// lookedUp stands for an address that the channel finds by itself.
const lookedUp = "?"

// Outcome is what became of a page that a digest names, over one channel.
type Outcome int

// The outcomes.
const (
	Underway Outcome = iota
	Named            // the message that names it is there
	Unnamed          // the channel refuses it
	Strange          // the digest does not have it
)

// Outcome tells what became of a page.
func (inc *Incident) Outcome(a Ask) (Outcome, string) {
	m := inc.member(a.Incident)
	if m == nil || m.Page != a.Page || inc.Many.Contacts[a.Channel] == "" {
		return Strange, ""
	}
	for i := range inc.Deliveries {
		d := &inc.Deliveries[i]
		if d.Channel != a.Channel || d.Parent != "" {
			continue
		}
		switch {
		case d.Reached != 0 && d.Done >= max(m.Seq, m.New):
			return Named, ""
		case d.Status == Failed:
			return Unnamed, d.Error
		}
	}
	if inc.State != Triggered {
		return Named, "" // nobody need be told any more
	}
	return Underway, ""
}

// RollCall is an event of a digest: what its members are like now. Those that are not
// in it were not looked at.
type RollCall struct {
	States []MemberState
	Soon   bool // it was looked at out of turn
}

// MemberState is what a digest says of an incident.
type MemberState struct {
	Incident string
	Over     bool
	By       string // the handle of who acknowledged it, if somebody did
	Gist     string // what people would see change
}

// Again is an event of a digest: one of its incidents reminds the person.
type Again struct{}

func (RollCall) event() {}
func (Again) event()    {}

// Unlooked hands out the members that have to be looked at before a digest can say
// what it names: those not over, until as many as it can name are still open.
func (inc *Incident) Unlooked(yield func(incident string) (open bool)) {
	open := 0
	for _, m := range inc.Many.ranked() {
		if !m.Over && yield(m.Incident) {
			if open++; open == MaxNamed {
				return
			}
		}
	}
}

// ranked are the members in the order in which they deserve to be named.
func (m *Many) ranked() []Member {
	out := slices.Clone(m.Members)
	slices.SortStableFunc(out, func(a, b Member) int {
		switch {
		case a.Urgent == b.Urgent:
			return 0
		case a.Urgent:
			return -1
		}
		return 1
	})
	return out
}

// Named are the members that are named now, the most urgent first.
func (m *Many) Named() []Member {
	return slices.DeleteFunc(m.ranked(), func(x Member) bool { return !slices.Contains(m.Shown, x.Seq) })
}

// Open is the number of members that ask for an answer.
func (m *Many) Open() int {
	n := 0
	for _, x := range m.Members {
		if !x.Over {
			n++
		}
	}
	return n
}

// look brings a digest up to date: whom it names, whether it still asks for an
// answer, and which messages that takes.
func (s *stepper) look(ev RollCall) Answer {
	many := s.Many
	if s.State != Triggered || !many.LookAt.due(s.now) && !ev.Soon {
		return Answer{Kind: Unchanged}
	}
	gist, byOthers := "", false
	for _, st := range ev.States {
		if m := s.member(st.Incident); m != nil {
			m.Over = st.Over
			byOthers = byOthers || st.Over && st.By != s.Person
			gist += st.Gist + "\n"
		}
	}
	var open, over []int
	for _, m := range many.ranked() {
		switch {
		case m.Over:
			over = append(over, m.Seq)
		case len(open) < MaxNamed:
			open = append(open, m.Seq)
		}
	}
	// What is over stays in its place for as long as there is room.
	over = over[max(0, len(over)-(MaxNamed-len(open))):]
	shown := slices.Concat(open, over)
	slices.Sort(shown)
	slices.Sort(open)
	gist = deliveryID(len(many.Members), shown, open, gist)
	age := time.Duration(s.now-many.JoinedAt) * time.Millisecond
	many.LookAt = s.now.plus(min(max(digestEvery, age/60), time.Minute))
	if gist != many.Gist {
		s.Rev++
		many.Gist, many.Shown = gist, shown
		if g := many.gen(s.Rev); g == nil || g.Last != many.Last || !slices.Equal(g.Open, open) {
			many.Gens = append(many.Gens, Gen{Rev: s.Rev, Last: many.Last, Open: open})
			many.Gens = many.Gens[max(0, len(many.Gens)-keepGens):]
		}
	}
	if len(open) == 0 {
		s.endDigest(byOthers)
		return Answer{Kind: Done}
	}
	s.ring()
	return Answer{Kind: Done}
}

// endDigest closes a digest of which nothing asks for an answer any more. What
// exceeds the next minute's pages makes a new one: edits do not ring. Whoever was
// mailed is mailed that it is over, unless they know because they did it.
func (s *stepper) endDigest(tell bool) {
	s.State, s.ClosedAt, s.Many.LookAt = Resolved, s.now, 0
	for _, d := range slices.Clone(s.Deliveries) {
		if tell && d.Channel == "email" && d.Parent == "" && d.Reached != 0 {
			s.add(Delivery{
				ID: deliveryID(s.ID, "over"), Kind: ToldDelivery, Channel: d.Channel,
				To: d.To, Address: d.Address, Parent: d.ID,
			})
		}
	}
}

// ring adds the first message of each channel, and from time to time one that
// rings again: for what has joined since, or because an incident reminds.
func (s *stepper) ring() {
	many := s.Many
	wait := ringEvery
	if many.Urgent {
		wait = ringUrgent
	}
	next := many.RungAt.plus(wait)
	rang := false
	for _, channel := range []string{"slack", "email"} {
		address := many.Contacts[channel]
		if address == "" {
			continue
		}
		d := Delivery{
			ID: deliveryID(s.ID, channel), Kind: DigestDelivery, Channel: channel,
			To: s.Person, Address: strings.TrimPrefix(address, lookedUp),
		}
		if first := s.delivery(d.ID); first != nil {
			told := many.Rung[channel]
			if !first.editable() {
				told = max(told, first.Done)
			}
			if many.Last <= told && !many.Again || first.Reached == 0 {
				continue
			}
			if s.now < next {
				many.LookAt = min(many.LookAt, next)
				continue
			}
			d.Parent, d.ID, d.Done = first.ID, deliveryID(s.ID, channel, s.now), told
		}
		s.add(d)
		many.Rung[channel] = many.Last
		rang = true
	}
	if rang {
		many.RungAt, many.Again, many.Urgent = s.now, false, false
	}
}

// named notes on the first message of a channel what one that arrived has named.
func (s *stepper) named(d *Delivery) {
	first := s.delivery(deliveryID(s.ID, d.Channel))
	if first == nil {
		return
	}
	if g := s.Many.gen(d.Sending); g != nil {
		first.Done = max(first.Done, g.Last)
	}
}

// gen is what a revision asked for: nil when it is too old to be known. One that only
// changed how something is said has none of its own, so that a link in a mail is
// good for as long as possible.
func (m *Many) gen(rev uint64) *Gen {
	for i := range slices.Backward(m.Gens) {
		if m.Gens[i].Rev <= rev {
			return &m.Gens[i]
		}
	}
	return nil
}

// Awaits tells whether a person is asked for an answer, as far as they were paged.
func (inc *Incident) Awaits(handle string) bool {
	return inc.State == Triggered || inc.Open() && inc.Beside.asks(handle)
}

// AsksFor tells whether a digest asks for an answer to an incident.
func (inc *Incident) AsksFor(incident string) bool {
	m := inc.member(incident)
	return inc.State == Triggered && m != nil && !m.Over
}

// stepDigest takes a digest through what can happen to one.
func (s *stepper) stepDigest(ev Event) Answer {
	if s.Many == nil {
		return Answer{Kind: Unchanged}
	}
	switch ev := ev.(type) {
	case Tick:
		return s.takeBack(func(d *Delivery) bool { return d.Until.due(s.now) })
	case Abandoned:
		return s.takeBack(func(d *Delivery) bool { return d.Until < ev.Before.plus(Lease) })
	case Unsent:
		return s.unsent(ev)
	case Renew:
		return s.renew(ev)
	case Result:
		return s.result(ev)
	case RollCall:
		return s.look(ev)
	case Again:
		if s.State != Triggered || s.Many.Again {
			return Answer{Kind: Unchanged}
		}
		s.Many.Again = true
		s.Many.LookAt = min(s.Many.LookAt, max(s.now, s.Many.RungAt.plus(ringEvery)))
		return Answer{Kind: Done}
	}
	return Answer{Kind: Unchanged}
}

// AskedFor are the incidents that a revision of a digest asked to acknowledge; false
// when it is too old to be known.
func (m *Many) AskedFor(rev uint64) (incidents []string, known bool) {
	g := m.gen(rev)
	if g == nil {
		return nil, false
	}
	for _, member := range m.Members {
		if slices.Contains(g.Open, member.Seq) {
			incidents = append(incidents, member.Incident)
		}
	}
	return incidents, true
}
