package server

import (
	"errors"
	"net/http"
	"strings"

	"callchain/config"
	"callchain/escalation/engine"
	"callchain/internal/acklink"
)

// view is what the doors need of the snapshot in force. Its secrets follow
// their files, so it is made once per snapshot.
type view struct {
	*engine.Snapshot
	sources map[string]source
	tokens  []token
	signing *config.Secret // nil: no Slack
	links   acklink.Keys   // nil: no e-mail
}

type source struct {
	secret *config.Secret // nil: anonymous
}

type token struct {
	name   string
	scope  scope
	secret *config.Secret
}

// scope is what a token may do; each one includes those before it.
type scope int

const (
	read scope = iota + 1
	respond
	admin
)

var scopes = map[string]scope{"read": read, "respond": respond, "admin": admin}

func (s scope) String() string {
	for name, v := range scopes {
		if v == s {
			return name
		}
	}
	return "none"
}

// current is the view of the snapshot in force.
func (s *Server) current() *view {
	snap := s.engine.Snapshot()
	if v := s.view.Load(); v != nil && v.Snapshot == snap {
		return v
	}
	v := newView(snap)
	s.view.Store(v)
	return v
}

func newView(snap *engine.Snapshot) *view {
	v := &view{Snapshot: snap, sources: map[string]source{}}
	c := snap.Config
	for _, src := range c.Alertmanager.Sources {
		secret := c.Secret(src.TokenFile)
		if src.Anonymous.V {
			secret = nil
		} else if secret == nil {
			continue // refused by config; never open by accident
		}
		v.sources[src.Name.V] = source{secret}
	}
	for _, t := range c.API.Tokens {
		if t.TokenFile.V == "" {
			continue
		}
		tok := token{name: t.Name.V, secret: c.Secret(t.TokenFile)}
		for _, name := range t.Scopes {
			tok.scope = max(tok.scope, scopes[name.V])
		}
		v.tokens = append(v.tokens, tok)
	}
	if sl := c.Notifiers.Slack; sl != nil {
		v.signing = c.Secret(sl.SigningSecretFile)
	}
	if m := c.Notifiers.Email; m != nil {
		if secret := c.Secret(m.LinkKeyFile); secret != nil {
			v.links = func() ([][]byte, error) {
				lines, err := secret.Lines()
				if err != nil {
					return nil, err
				}
				keys := make([][]byte, len(lines))
				for i, l := range lines {
					keys[i] = []byte(l)
				}
				return keys, nil
			}
		}
	}
	return v
}

// bearer is the token of a request; "" if it carries none.
func bearer(r *http.Request) string {
	kind, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return strings.TrimSpace(value)
}

// authorize finds the token of a request and what it may do. All tokens are
// compared, so that the time taken does not tell which one fits.
func (v *view) authorize(r *http.Request, need scope) (name string, err error) {
	given := bearer(r)
	if given == "" {
		detail := "send the header Authorization: Bearer TOKEN, with a token of api.tokens"
		if len(v.tokens) == 0 {
			detail = "there is no token yet: add one to api.tokens in callchain.yml"
		}
		return "", fail(http.StatusUnauthorized, "unauthorized", detail)
	}
	var have scope
	var unreadable []error
	for _, t := range v.tokens {
		ok, err := t.secret.Matches(given)
		if err != nil {
			unreadable = append(unreadable, err)
		}
		if ok && t.scope > have {
			name, have = t.name, t.scope
		}
	}
	switch {
	case have >= need:
		return name, nil
	case have > 0:
		return "", fail(http.StatusForbidden, "forbidden", "the token "+name+" has the scope "+have.String()+", this needs "+need.String())
	case len(unreadable) > 0:
		return "", &failure{http.StatusServiceUnavailable, "token_unreadable", "the token cannot be checked: a file of api.tokens cannot be read", errors.Join(unreadable...)}
	}
	return "", fail(http.StatusUnauthorized, "unauthorized", "this token is not one of api.tokens")
}
