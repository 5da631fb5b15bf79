package engine

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"callchain/escalation/store/mem"
)

// vessel is a store of which is known how full it is.
type vessel struct {
	*mem.Store
	used float64
}

func (v *vessel) Full(context.Context) (float64, error) { return v.used, nil }

func TestToldBeforeTheStoreIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &vessel{mem.New(), 0.79}
		b := start(t, st, &fake{}, &fake{})
		b.lookFull(t.Context())
		time.Sleep(time.Minute)
		if got := b.email.notices(); len(got) > 0 {
			t.Errorf("told %q too early", got)
		}
		st.used = 0.81
		for range 10 {
			b.lookFull(t.Context())
		}
		time.Sleep(time.Minute)
		if got := b.email.notices(); !slices.Equal(got, []string{"callchain's store is nearly full"}) {
			t.Errorf("told %q; want once", got)
		}
		time.Sleep(24 * time.Hour)
		b.lookFull(t.Context())
		time.Sleep(time.Minute)
		if got := b.email.notices(); len(got) != 2 {
			t.Errorf("told %q; want again on the next day", got)
		}
	})
}
