package server

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/internal/acklink"
)

// ackView is what the page of a mail's link shows. It says nothing about the
// alert: scanners keep and publish what they open.
type ackView struct {
	Title  string
	Said   string
	What   string // is acknowledged
	Person string
	Stamp  string // set: show the button
}

// ackPage is the page of a mail's link. Mail scanners open links, so it does
// nothing; the store is not asked.
func (s *Server) ackPage(w http.ResponseWriter, r *http.Request) {
	v, claim, ok := s.ackClaim(w, r)
	if !ok {
		return
	}
	s.ackForm(w, r, v, claim, "")
}

// ackPress is the press of the button on that page.
func (s *Server) ackPress(w http.ResponseWriter, r *http.Request) {
	v, claim, ok := s.ackClaim(w, r)
	if !ok {
		return
	}
	if !s.ownPage(r, v) {
		ackSay(w, http.StatusForbidden, "Not acknowledged", "This press came from a page of another site. Open the link in the mail and press there.")
		return
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		ackSay(w, http.StatusUnsupportedMediaType, "Not acknowledged", "Open the link in the mail and press the button there.")
		return
	}
	if err := r.ParseForm(); err != nil {
		ackSay(w, http.StatusBadRequest, "Not acknowledged", "Open the link in the mail and press the button there.")
		return
	}
	switch err := v.links.CheckStamp(r.PathValue("token"), r.PostForm.Get("stamp"), time.Now()); {
	case errors.Is(err, acklink.ErrEarly):
		s.ackForm(w, r, v, claim, "That was faster than a person reads. Nothing has happened yet: press once more.")
		return
	case errors.Is(err, acklink.ErrLate):
		s.ackForm(w, r, v, claim, "This page was open for a long time. Nothing has happened yet: press once more.")
		return
	case errors.Is(err, acklink.ErrForged):
		ackSay(w, http.StatusForbidden, "Not acknowledged", "The form is not the one of this link. Open the link in the mail and press there.")
		return
	case err != nil:
		s.log.Error("link not checked", "err", err)
		ackSay(w, http.StatusServiceUnavailable, "Not acknowledged", "The link cannot be checked now. Press again in a moment, or answer in Slack.")
		return
	}

	who := escalation.Actor{Handle: claim.Person, Name: claim.Person, Via: "email"}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeWithin)
	defer cancel()
	if digest, rev, err := escalation.ParseDigestToken(claim.Incident); err == nil {
		s.ackDigestPage(ctx, w, digest, rev, who)
		return
	}
	inc, answer, err := s.engine.Do(ctx, claim.Incident, escalation.Acknowledge{By: who})
	// Whoever holds the link was paged; the chain may have changed since.
	if err == nil && answer.Kind == escalation.NotInChain &&
		slices.ContainsFunc(inc.Paged, func(p escalation.Paged) bool { return p.Handle == who.Handle }) {
		_, answer, err = s.engine.Do(ctx, claim.Incident, escalation.Acknowledge{By: who, TakeOver: true})
	}
	switch {
	case errors.Is(err, engine.ErrNotFound):
		ackSay(w, http.StatusNotFound, "Not known here any more", "callchain does not know incident "+claim.Incident+" any more: its store lost it, or it was closed long ago. Look in Alertmanager whether the alert still fires: if so, it is paged anew when Alertmanager sends it again.")
	case err != nil:
		s.log.Error("acknowledgement not stored", "incident", claim.Incident, "err", err)
		w.Header().Set("Retry-After", "5")
		ackSay(w, http.StatusServiceUnavailable, "Not acknowledged", "It could not be stored: the escalation goes on. Go back and press again, or answer in Slack.")
	default:
		switch answer.Kind {
		case escalation.Done:
			if answer.At != 0 {
				said := "You (" + who.Handle + ") still are on incident " + claim.Incident + ": nobody else is paged."
				if inc.Ack != nil && inc.Ack.Expires != 0 {
					said = "You (" + who.Handle + ") still are on incident " + claim.Incident + ": nobody else is paged until " + longClock(inc.Ack.Expires) + "."
				}
				ackSay(w, http.StatusOK, "Still yours", said)
				return
			}
			ackSay(w, http.StatusOK, "Acknowledged", "You ("+who.Handle+") acknowledged incident "+claim.Incident+" at "+clock(escalation.At(s.engine.Now()))+". The escalation has stopped.")
		case escalation.Already:
			ackSay(w, http.StatusOK, "Acknowledged", words(answer, who))
		case escalation.Recorded:
			ackSay(w, http.StatusOK, "Recorded", words(answer, who))
		case escalation.Closed:
			ackSay(w, http.StatusOK, "Resolved", words(answer, who))
		case escalation.NotInChain:
			ackSay(w, http.StatusConflict, "Not acknowledged", "You are not in the chain of this incident any more. The escalation goes on; nothing changed.")
		default:
			ackSay(w, http.StatusOK, "Nothing changed", "The incident is as it was.")
		}
	}
}

// ackDigestPage acknowledges what the mail of a digest named.
func (s *Server) ackDigestPage(ctx context.Context, w http.ResponseWriter, digest string, rev uint64, who escalation.Actor) {
	said, err := s.ackDigest(ctx, digest, rev, escalation.Acknowledge{By: who})
	if err != nil {
		s.log.Error("acknowledgement not stored", "digest", digest, "err", err)
		w.Header().Set("Retry-After", "5")
		ackSay(w, http.StatusServiceUnavailable, "Not acknowledged", "Not all of it could be stored: what is not goes on. Go back and press again, or answer in Slack.")
		return
	}
	ackSay(w, http.StatusOK, "Your answer", said) // part of it may have changed nothing
}

// ackClaim reads what the link says, or answers why it is not honoured.
func (s *Server) ackClaim(w http.ResponseWriter, r *http.Request) (*view, acklink.Claim, bool) {
	ackHeaders(w)
	v := s.current()
	if v.links == nil {
		ackSay(w, http.StatusNotFound, "No such link", "Links in mails are not configured here.")
		return nil, acklink.Claim{}, false
	}
	claim, err := v.links.Verify(r.PathValue("token"), time.Now(), v.Config.ExternalURL.V)
	switch {
	case err == nil:
		return v, claim, true
	case errors.Is(err, acklink.ErrExpired):
		ackSay(w, http.StatusForbidden, "The link is too old", "This link is not valid any more. Use the newest mail of the incident, or answer in Slack.")
	case errors.Is(err, acklink.ErrForged):
		ackSay(w, http.StatusForbidden, "The link is not valid", "This link was not made here, or was cut on its way. Copy it whole from the mail, or answer in Slack.")
	default:
		s.log.Error("link not checked", "err", err)
		w.Header().Set("Retry-After", "5")
		ackSay(w, http.StatusServiceUnavailable, "Try again", "The link cannot be checked now. Try again in a moment, or answer in Slack.")
	}
	return nil, acklink.Claim{}, false
}

func (s *Server) ackForm(w http.ResponseWriter, r *http.Request, v *view, claim acklink.Claim, said string) {
	stamp, err := v.links.Stamp(r.PathValue("token"), time.Now())
	if err != nil {
		s.log.Error("form not stamped", "err", err)
		w.Header().Set("Retry-After", "5")
		ackSay(w, http.StatusServiceUnavailable, "Try again", "The link cannot be checked now. Try again in a moment, or answer in Slack.")
		return
	}
	what := "incident " + claim.Incident
	if digest, _, err := escalation.ParseDigestToken(claim.Incident); err == nil {
		what = "all incidents that the mail of digest " + digest + " names"
	}
	render(w, http.StatusOK, "ack", ackView{Title: "Acknowledge " + what, Said: said, What: what, Person: claim.Person, Stamp: stamp})
}

// ownPage tells whether a form was sent by our own page. Without a referrer
// browsers send the origin "null", so a missing or null origin says nothing.
func (s *Server) ownPage(r *http.Request, v *view) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" || origin == "null" {
		return true
	}
	from, err := url.Parse(origin)
	if err != nil {
		return false
	}
	ours, err := url.Parse(v.Config.ExternalURL.V)
	return from.Host == r.Host || err == nil && from.Host == ours.Host
}

func ackHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex, nofollow")
}

func ackSay(w http.ResponseWriter, status int, title, said string) {
	ackHeaders(w)
	render(w, status, "ack", ackView{Title: title, Said: said})
}
