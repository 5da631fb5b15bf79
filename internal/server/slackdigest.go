package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/notifiers/slack"
)

// ackAll is the press of a digest's button: it acknowledges what the digest showed
// when it was pressed, and tells the presser what came of it.
func (s *Server) ackAll(ctx context.Context, app Slack, press slack.Interaction) error {
	digest, rev, err := escalation.ParseDigestToken(press.Token)
	if err != nil {
		return slack.ErrPayload
	}
	who, stranger, said := s.presser(ctx, app, press)
	if said == "" {
		if said, err = s.ackDigest(ctx, digest, rev, escalation.Acknowledge{By: who, Stranger: stranger}); err != nil {
			return err
		}
	}
	s.tellPresser(app, press, said, "")
	return nil
}

// ackDigest acknowledges the incidents of a digest's revision. An error means that
// at least one of them is not stored: pressing again is right, and harmless.
func (s *Server) ackDigest(ctx context.Context, digest string, rev uint64, ev escalation.Acknowledge) (said string, err error) {
	// Whoever was paged may answer; the chain may have changed since.
	may := func(inc escalation.Incident) bool {
		return !ev.Stranger && slices.ContainsFunc(inc.Paged, func(p escalation.Paged) bool { return p.Handle == ev.By.Handle })
	}
	did, err := s.engine.AcknowledgeAll(ctx, digest, rev, ev, may)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return "callchain does not know this digest any more: its store lost it, or it was over long ago. Nothing changed. Look at the list of open incidents.", nil
	case errors.Is(err, engine.ErrOldDigest):
		return "This list is old: what it showed is not kept any more. Nothing changed. Use the digest's newest message.", nil
	case err != nil:
		return "", fmt.Errorf("digest %s: %w", digest, err)
	}
	if len(did) == 1 && did[0].Incident.ID == digest {
		return words(did[0].Answer, ev.By), nil
	}
	for _, d := range did {
		if d.Err != nil && !errors.Is(d.Err, engine.ErrNotFound) {
			return "", fmt.Errorf("digest %s: incident %s: %w", digest, d.Incident.ID, d.Err)
		}
	}
	return tally(did, ev.By), nil
}

// maxTold is how many incidents an answer names by id.
const maxTold = 10

// tally says what acknowledging the incidents of a digest did.
func tally(did []engine.Acknowledged, who escalation.Actor) string {
	var said []string
	kinds := map[string][]string{} // what happened -> ids
	var order []string
	put := func(what, id string) {
		if kinds[what] == nil {
			order = append(order, what)
		}
		kinds[what] = append(kinds[what], id)
	}
	done := 0
	for _, d := range did {
		switch {
		case d.Err != nil:
			put("not known any more", d.Incident.ID)
		case d.Answer.Kind == escalation.Done:
			done++
		case d.Answer.Kind == escalation.Already && d.Answer.By.Handle == who.Handle:
			put("acknowledged by you before", d.Incident.ID)
		case d.Answer.Kind == escalation.Already:
			put("acknowledged by "+d.Answer.By.String()+" before", d.Incident.ID)
		case d.Answer.Kind == escalation.Closed:
			put("resolved already", d.Incident.ID)
		case d.Answer.Kind == escalation.Recorded:
			put("recorded; Redis is away, their escalation may still happen", d.Incident.ID)
		case d.Answer.Kind == escalation.NotInChain:
			put("not acknowledged, because you are not in their chain: open them and take over there", d.Incident.ID)
		case d.Answer.Kind == escalation.Volunteer:
			put("not acknowledged, because the escalation does not stop for volunteers", d.Incident.ID)
		default:
			put("as they were", d.Incident.ID)
		}
	}
	incidents := func(n int) string {
		if n == 1 {
			return "1 incident"
		}
		return fmt.Sprintf("%d incidents", n)
	}
	if done > 0 {
		said = append(said, "You acknowledged "+incidents(done)+".")
	} else {
		said = append(said, "Nothing was left to acknowledge.")
	}
	for _, what := range order {
		ids := kinds[what]
		shown := strings.Join(ids[:min(len(ids), maxTold)], ", ")
		if more := len(ids) - maxTold; more > 0 {
			shown += fmt.Sprintf(" and %d more", more)
		}
		said = append(said, fmt.Sprintf("%s %s (%s).", incidents(len(ids)), what, shown))
	}
	return strings.Join(said, " ")
}
