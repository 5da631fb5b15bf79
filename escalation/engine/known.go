package engine

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"sync"

	"callchain/escalation"
	"callchain/escalation/record"
	"callchain/routing"
)

// maxKnown bounds what is remembered of each kind. An alert that is not
// remembered is paged again on the island: rather that than not at all.
const maxKnown = 200_000

// known remembers which alerts fire, for the time when the store cannot be
// asked: those of the incidents that the last count has seen, and those of the
// webhooks that came here, in two generations.
type known struct {
	mu      sync.Mutex
	counted map[uint64]struct{}
	lately  map[uint64]struct{}
	before  map[uint64]struct{}
	ended   map[uint64]struct{} // while a count is under way: it may have seen them
}

func episodeHash(gid string, fingerprint uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(gid))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], fingerprint)
	_, _ = h.Write(b[:])
	return h.Sum64()
}

// learn takes in what a webhook says that the store has.
func (k *known) learn(gid string, w routing.Webhook) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range w.Alerts {
		h := episodeHash(gid, w.Alerts[i].Fingerprint)
		if !w.Alerts[i].Firing {
			k.forget(h)
			continue
		}
		delete(k.ended, h)
		if k.lately == nil || len(k.lately) >= maxKnown/2 {
			k.before, k.lately = k.lately, map[uint64]struct{}{}
		}
		k.lately[h] = struct{}{}
	}
}

// unlearn makes the alerts of an incident unknown again.
func (k *known) unlearn(inc *escalation.Incident) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range inc.Episodes {
		k.forget(episodeHash(inc.Group, e.Fingerprint))
	}
}

func (k *known) forget(h uint64) {
	delete(k.counted, h)
	delete(k.lately, h)
	delete(k.before, h)
	if k.ended != nil {
		k.ended[h] = struct{}{}
	}
}

// unknown is the webhook without the firing alerts that were known before. Of
// one that it resolves, the next firing is new.
func (k *known) unknown(gid string, w routing.Webhook) routing.Webhook {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range w.Alerts {
		if !w.Alerts[i].Firing {
			k.forget(episodeHash(gid, w.Alerts[i].Fingerprint))
		}
	}
	w.Alerts = slices.DeleteFunc(slices.Clone(w.Alerts), func(a routing.WebhookAlert) bool {
		h := episodeHash(gid, a.Fingerprint)
		_, counted := k.counted[h]
		_, lately := k.lately[h]
		_, before := k.before[h]
		return a.Firing && (counted || lately || before)
	})
	return w
}

// sighting gathers what a count of all incidents sees.
type sighting struct {
	k    *known
	seen map[uint64]struct{}
}

func (k *known) look() *sighting {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = map[uint64]struct{}{}
	return &sighting{k, map[uint64]struct{}{}}
}

// incident reads what is counted of an incident, and remembers its alerts.
func (s *sighting) incident(data []byte) (counted, error) {
	var inc struct {
		counted
		Group    string              `json:"g"`
		Episodes escalation.Episodes `json:"ep"`
	}
	if err := record.Decode(data, &inc); err != nil {
		return inc.counted, err
	}
	for _, e := range inc.Episodes {
		if len(s.seen) >= maxKnown {
			break
		}
		s.seen[episodeHash(inc.Group, e.Fingerprint)] = struct{}{}
	}
	return inc.counted, nil
}

// done makes what was seen what is known, but for what ended meanwhile.
func (s *sighting) done() {
	s.k.mu.Lock()
	defer s.k.mu.Unlock()
	for h := range s.k.ended {
		delete(s.seen, h)
	}
	s.k.counted, s.k.ended = s.seen, nil
}
