package escalation

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"callchain/config"
)

// Episode is one firing alert. An episode is known by its fingerprint: while it
// fires, whatever startsAt a peer stamps on it is the same episode.
type Episode struct {
	Fingerprint uint64
	StartsAt    Instant // the latest that was seen
	Urgency     config.Urgency
}

// Episodes are the firing alerts of an incident, by fingerprint. However many
// there are, each takes 15 bytes of the record.
type Episodes []Episode

const episodeSize = 8 + 6 + 1

// find returns the place of a fingerprint and whether it is there.
func (es Episodes) find(fp uint64) (int, bool) {
	return slices.BinarySearchFunc(es, fp, func(e Episode, fp uint64) int {
		switch {
		case e.Fingerprint < fp:
			return -1
		case e.Fingerprint > fp:
			return 1
		}
		return 0
	})
}

// Firing tells whether the alert is among them.
func (es Episodes) Firing(fp uint64) bool {
	_, ok := es.find(fp)
	return ok
}

// paging is the number of those that keep a paging incident open.
func (es Episodes) paging() int {
	n := 0
	for _, e := range es {
		if e.Urgency.Pages() {
			n++
		}
	}
	return n
}

// highest is the highest urgency among them; record if there are none.
func (es Episodes) highest() config.Urgency {
	u := config.Record
	for _, e := range es {
		if e.Urgency.Rank() > u.Rank() {
			u = e.Urgency
		}
	}
	return u
}

// MarshalBinary packs the episodes: fingerprint, startsAt in milliseconds (48 bits), rank of the urgency.
func (es Episodes) MarshalBinary() ([]byte, error) {
	buf := make([]byte, 0, len(es)*episodeSize+1)
	for _, e := range es {
		buf = binary.BigEndian.AppendUint64(buf, e.Fingerprint)
		buf = binary.BigEndian.AppendUint64(buf, uint64(clampInstant(e.StartsAt))<<16|uint64(e.Urgency.Rank())<<8)
		buf = buf[:len(buf)-1]
	}
	return buf, nil
}

// MarshalJSON is MarshalBinary in base64.
func (es Episodes) MarshalJSON() ([]byte, error) {
	buf, err := es.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return json.Marshal(base64.RawStdEncoding.EncodeToString(buf))
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (es *Episodes) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	buf, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("decode episodes: %w", err)
	}
	return es.UnmarshalBinary(buf)
}

// UnmarshalBinary is the inverse of MarshalBinary.
func (es *Episodes) UnmarshalBinary(buf []byte) error {
	if len(buf)%episodeSize != 0 {
		return fmt.Errorf("decode episodes: %d bytes are no whole number of them", len(buf))
	}
	*es = make(Episodes, 0, len(buf)/episodeSize)
	for ; len(buf) > 0; buf = buf[episodeSize:] {
		var rest [8]byte
		copy(rest[:], buf[8:episodeSize])
		v := binary.BigEndian.Uint64(rest[:])
		*es = append(*es, Episode{
			Fingerprint: binary.BigEndian.Uint64(buf),
			StartsAt:    Instant(v >> 16),
			Urgency:     urgencyOfRank(int(v >> 8 & 0xff)),
		})
	}
	slices.SortFunc(*es, func(a, b Episode) int {
		switch {
		case a.Fingerprint < b.Fingerprint:
			return -1
		case a.Fingerprint > b.Fingerprint:
			return 1
		}
		return 0
	})
	return nil
}

// clampInstant keeps an instant within 48 bits: the years 1970 to 10889. Alerts
// may claim any year; a clamped one is still the same on every repeat.
func clampInstant(i Instant) Instant {
	return min(max(i, 0), 1<<48-1)
}

func urgencyOfRank(r int) config.Urgency {
	for _, u := range config.Urgencies {
		if u.Rank() == r {
			return u
		}
	}
	return config.Record
}
