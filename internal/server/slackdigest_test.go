package server

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation"
	"callchain/escalation/engine"
	"callchain/internal/acklink"
)

// didAll is an answer of every kind.
func didAll(at escalation.Instant) []engine.Acknowledged {
	did := func(id string, a escalation.Answer, err error) engine.Acknowledged {
		return engine.Acknowledged{Incident: escalation.Incident{ID: id}, Answer: a, Err: err}
	}
	return []engine.Acknowledged{
		did("00-a", escalation.Answer{Kind: escalation.Done}, nil),
		did("00-b", escalation.Answer{Kind: escalation.Done}, nil),
		did("00-c", escalation.Answer{Kind: escalation.Already, By: escalation.Actor{Handle: "ben", Name: "Ben"}, At: at}, nil),
		did("00-d", escalation.Answer{Kind: escalation.Already, By: escalation.Actor{Handle: "ana"}, At: at}, nil),
		did("00-e", escalation.Answer{Kind: escalation.Closed, At: at}, nil),
		did("00-f", escalation.Answer{Kind: escalation.NotInChain}, nil),
		did("00-g", escalation.Answer{}, engine.ErrNotFound),
		did("00-h", escalation.Answer{Kind: escalation.Recorded}, nil),
	}
}

const saidAll = "You acknowledged 2 incidents. 1 incident acknowledged by Ben before (00-c). 1 incident acknowledged by you before (00-d). " +
	"1 incident resolved already (00-e). 1 incident not acknowledged, because you are not in their chain: open them and take over there (00-f). " +
	"1 incident not known any more (00-g). 1 incident recorded; Redis is away, their escalation may still happen (00-h)."

// One press acknowledges what the digest showed, and says what came of each.
func TestSlackAckAll(t *testing.T) {
	token := escalation.DigestToken("d2-mfoh47odak", 7)
	failed := append(didAll(1), engine.Acknowledged{Incident: escalation.Incident{ID: "00-z"}, Err: errStore})
	for _, tc := range []struct {
		name, user, token string
		did               []engine.Acknowledged
		err               error
		code              int
		asked, said       string
	}{
		{"all kinds", "U01ANA", token, didAll(1), nil, 200, "d2-mfoh47odak 7 ana slack false", saidAll},
		{"a member that the catalog lacks", "U03ZOE", token, didAll(1)[5:6], nil, 200, "d2-mfoh47odak 7 slack:U03ZOE slack true", "Nothing was left to acknowledge. 1 incident not acknowledged"},
		{"a digest that is gone", "U01ANA", token, nil, engine.ErrNotFound, 200, "d2-mfoh47odak 7 ana slack false", "does not know this digest"},
		{"an old list", "U01ANA", token, nil, engine.ErrOldDigest, 200, "d2-mfoh47odak 7 ana slack false", "Use the digest's newest message"},
		{"the store is away", "U01ANA", token, nil, errStore, 503, "d2-mfoh47odak 7 ana slack false", ""},
		{"Redis is away", "U01ANA", token, []engine.Acknowledged{{Incident: escalation.Incident{ID: "d2-mfoh47odak"}, Answer: escalation.Answer{Kind: escalation.Recorded}}}, nil,
			200, "d2-mfoh47odak 7 ana slack false", "Recorded; Redis is away, the escalation may still happen."},
		{"one is not stored", "U01ANA", token, failed, nil, 503, "d2-mfoh47odak 7 ana slack false", ""},
		{"an incident's token", "U01ANA", "v1|0c-k7f3k|1|1|1", nil, nil, 400, "", ""},
		{"no token", "U01ANA", "d1|x", nil, nil, 400, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.engine.digest = func(escalation.Acknowledge) ([]engine.Acknowledged, error) { return tc.did, tc.err }
			w := b.signed("/slack/interactions", press(tc.user, "T1", "ack_all", tc.token))
			if w.Code != tc.code || strings.Join(b.engine.asks, "|") != tc.asked {
				t.Errorf("%d, asked %q; want %d, %q", w.Code, b.engine.asks, tc.code, tc.asked)
			}
			if said := strings.Join(b.slack.said, "|"); (said == "") != (tc.said == "") || !strings.Contains(said, tc.said) {
				t.Errorf("said %q, want %q", said, tc.said)
			}
		})
	}
}

// The link in a digest's mail acknowledges its list; opening it changes nothing.
func TestAckLinkOfADigest(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		keys := acklink.Keys(func() ([][]byte, error) { return [][]byte{[]byte(linkKey)}, nil })
		token, err := keys.Sign(escalation.DigestToken("d2-mfoh47odak", 7), "ana", time.Now().Add(time.Hour), "https://callchain.example.org")
		if err != nil {
			t.Fatal(err)
		}
		b.engine.digest = func(escalation.Acknowledge) ([]engine.Acknowledged, error) { return didAll(1), nil }
		page := b.do("GET", "/ack/"+token, "")
		if page.Code != 200 || b.engine.asked != 0 || !strings.Contains(page.Body.String(), "all incidents that the mail of digest d2-mfoh47odak names") {
			t.Fatalf("GET: %d, store asked %d times: %s", page.Code, b.engine.asked, page.Body)
		}
		time.Sleep(time.Second)
		w := b.do("POST", "/ack/"+token, form(page), "Content-Type", formType)
		if w.Code != 200 || !slices.Equal(b.engine.asks, []string{"d2-mfoh47odak 7 ana email false"}) || !strings.Contains(w.Body.String(), "You acknowledged 2 incidents.") || strings.Contains(w.Body.String(), "<h1>Acknowledged") {
			t.Errorf("press: %d, asked %q: %s", w.Code, b.engine.asks, w.Body)
		}
		b.engine.digest = func(escalation.Acknowledge) ([]engine.Acknowledged, error) { return nil, errors.New("away") }
		if w := b.do("POST", "/ack/"+token, form(page), "Content-Type", formType); w.Code != 503 {
			t.Errorf("when it is not stored: %d", w.Code)
		}
	})
}
