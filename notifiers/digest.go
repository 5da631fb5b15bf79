package notifiers

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxNamed is how many incidents a digest names.
const MaxNamed = 50

// maxStormTitle is what a title may take of a line of a digest: fifty of them have
// to fit into one message.
const maxStormTitle = 70

func stormHeadline(s *Storm) string {
	incidents := count(s.Total, "incident", "incidents")
	switch {
	case s.Over && s.answered():
		return "ANSWERED - alert storm: nothing of " + incidents + " waits for an answer"
	case s.Over:
		return "OVER - alert storm of " + incidents
	case s.New > 0:
		return fmt.Sprintf("ALERT STORM grows - %d more, %d open", s.New, s.Open)
	case s.Again:
		return "STILL FIRING - alert storm: " + fmt.Sprintf("%d of %s open", s.Open, incidents)
	case s.Open < s.Total:
		return fmt.Sprintf("ALERT STORM - %d of %s open", s.Open, incidents)
	}
	return "ALERT STORM - " + count(s.Total, "more incident pages you", "more incidents page you")
}

// answered tells whether some of it may fire on, since people only acknowledged or
// snoozed it.
func (s *Storm) answered() bool {
	return slices.ContainsFunc(s.Named, func(n Named) bool { return n.State == Acknowledged || n.State == Snoozed })
}

// stormSentence is a digest in one line, for the notification on a phone.
func stormSentence(m Message) string {
	s := m.Digest
	if s == nil {
		return "callchain"
	}
	var names []string
	of := s.Open
	if s.New > 0 {
		of = s.New
	}
	for _, n := range s.Named {
		if n.State == Triggered && (s.New == 0 || n.New) && len(names) < 3 {
			names = append(names, Clean(string(n.Title), maxStormTitle))
		}
	}
	about := listed(names, 3)
	if of > len(names) && len(names) > 0 {
		about = fmt.Sprintf("%s and %d more", strings.Join(names, ", "), of-len(names))
	}
	return join(stop(stormHeadline(s)), stop(about), upcoming(m))
}

// StormLead says what the reader has before them.
func StormLead(m Message) string {
	s := m.Digest
	switch {
	case s == nil:
		return ""
	case s.Over && s.answered():
		return "Nothing here pages you any more. What is acknowledged or snoozed may fire on: its line says who has it."
	case s.Over:
		return "Nothing here pages you any more. You need do nothing."
	}
	return fmt.Sprintf("%s paged you within a minute. The others are listed here and get no message of their own; "+
		"each escalates by itself, as if it had paged you alone.", count(s.Limit, "incident", "incidents"))
}

// stormComing says which of its incidents goes on first without an answer, and to whom.
func stormComing(s *Storm) Timed {
	if s == nil || s.Next == nil || s.Over {
		return Timed{}
	}
	to := ""
	if names := listed(s.Next.Names, 6); names != "" {
		to = " to " + names
	}
	return Timed{"The first to escalate is " + Clean(s.NextID, maxName) + to + ", at ", s.Next.At, "."}
}

// StormButton is what acknowledges a digest, in words: it covers what is named.
func StormButton(s *Storm) string {
	if s.Asks == s.Open {
		return "Acknowledge " + count(s.Asks, "incident", "incidents")
	}
	return fmt.Sprintf("Acknowledge these %d", s.Asks)
}

// StormLeft counts the incidents that are not named, and says where they are; "" for none.
func StormLeft(m Message) string {
	s := m.Digest
	if s == nil {
		return ""
	}
	return LeftOut(s.Total-min(len(s.Named), MaxNamed), "", s.Page)
}

// StormLines names the incidents, one line each.
func StormLines(m Message) []string {
	s := m.Digest
	if s == nil {
		return nil
	}
	var out []string
	for i, n := range s.Named {
		if i == MaxNamed {
			break
		}
		line := Clean(n.ID, 20) + "  "
		if n.New {
			line += "NEW "
		}
		if n.Urgent {
			line += "UNBREAK NOW "
		}
		line += Clean(string(n.Title), maxStormTitle)
		if mark := n.mark(); mark != "" {
			line += " - " + mark
		}
		out = append(out, line)
	}
	return out
}

// mark is what became of an incident; "" while it asks for an answer.
func (n Named) mark() string {
	by := ""
	if n.By != "" {
		by = " by " + Clean(n.By, 24)
	}
	switch n.State {
	case Triggered:
		if n.Apart {
			return "fires again: see its own page"
		}
		return ""
	case Acknowledged:
		return "acknowledged" + by
	case Snoozed:
		return "snoozed"
	}
	return "resolved" + by
}

// StormSince is the heading of the incidents.
func StormSince(m Message, opened time.Time) string {
	if m.Digest == nil || opened.IsZero() {
		return ""
	}
	return count(m.Digest.Total, "incident", "incidents") + " since " + UTC(opened, m.Now)
}
