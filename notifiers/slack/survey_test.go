package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name   string
		header string // "" none
		body   string
		want   Identity
		err    string
	}{
		{"with scopes", "chat:write,users:read, im:history", `{"ok":true,"team":"Test","user":"callchain","user_id":"U1","team_id":"T1"}`, Identity{"Test", "callchain", []string{"chat:write", "users:read", "im:history"}, true}, ""},
		{"without", "", `{"ok":true,"team":"Test","user":"callchain","user_id":"U1"}`, Identity{Team: "Test", Bot: "callchain"}, ""},
		{"revoked", "", `{"ok":false,"error":"token_revoked"}`, Identity{}, "slack: token_revoked: the bot token was revoked"},
		{"empty", "", `{}`, Identity{}, "the answer is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, func(_ string, _ url.Values, w http.ResponseWriter) {
				if c.header != "" {
					w.Header().Set("X-OAuth-Scopes", c.header)
				}
				io.WriteString(w, c.body)
			})
			got, err := a.notifier(t).Identify(t.Context())
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("err = %v, want %q", err, c.err)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	listPages := func(method string, form url.Values, w http.ResponseWriter) {
		switch {
		case method == "conversations.info" && form.Get("channel") == "C0123ABCD":
			io.WriteString(w, `{"ok":true,"channel":{"id":"C0123ABCD","name":"by-id","is_member":true,"is_ext_shared":true}}`)
		case method == "conversations.info":
			io.WriteString(w, `{"ok":false,"error":"channel_not_found"}`)
		case form.Get("cursor") == "":
			io.WriteString(w, `{"ok":true,"channels":[{"id":"C1","name":"sre","is_member":true}],"response_metadata":{"next_cursor":"more"}}`)
		default:
			io.WriteString(w, `{"ok":true,"channels":[{"id":"G2","name":"old","is_private":true,"is_archived":true},{"id":"C3","name":"unasked"}]}`)
		}
	}
	a := newAPI(t, listPages)
	got, err := a.notifier(t).Places(t.Context(), []string{"#sre", "old", "#none", "C0123ABCD", "C0123NONE"})
	want := map[string]Place{
		"#sre": {ID: "C1", Name: "sre", Member: true}, "old": {ID: "G2", Name: "old", Private: true, Archived: true},
		"C0123ABCD": {ID: "C0123ABCD", Name: "by-id", Member: true, External: true},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}

	// Without the scope for private channels the public ones are still found.
	a = newAPI(t, func(method string, form url.Values, w http.ResponseWriter) {
		if strings.Contains(form.Get("types"), "private") {
			io.WriteString(w, `{"ok":false,"error":"missing_scope","needed":"groups:read"}`)
			return
		}
		listPages(method, form, w)
	})
	got, err = a.notifier(t).Places(t.Context(), []string{"#sre"})
	if len(got) != 1 || err != nil {
		t.Errorf("Places = %v, %v", got, err)
	}
	if got, err = a.notifier(t).Places(t.Context(), []string{"#sre", "#secret"}); len(got) != 1 || !MissingScope(err) {
		t.Errorf("Places = %v, %v; want the missing scope told", got, err)
	}
}

func TestMembers(t *testing.T) {
	a := newAPI(t, func(method string, form url.Values, w http.ResponseWriter) {
		switch key := form.Get("user") + form.Get("email"); key {
		case "U01ANA":
			io.WriteString(w, `{"ok":true,"user":{"id":"U01ANA","name":"ana","is_restricted":true}}`)
		case "ben@example.org":
			io.WriteString(w, `{"ok":true,"user":{"id":"U01BEN","name":"ben","deleted":true}}`)
		case "U01NONE":
			io.WriteString(w, `{"ok":false,"error":"user_not_found"}`)
		case "none@example.org":
			io.WriteString(w, `{"ok":false,"error":"users_not_found"}`)
		default:
			io.WriteString(w, `{"ok":false,"error":"missing_scope","needed":"users:read.email"}`)
		}
	})
	got := a.notifier(t).Members(t.Context(), []Sought{{ID: "U01ANA", Email: "x"}, {Email: "ben@example.org"}, {ID: "U01NONE"}, {Email: "none@example.org"}, {Email: "chen@example.org"}})
	want := []Found{
		{User: User{ID: "U01ANA", Name: "ana", Guest: true}}, {User: User{ID: "U01BEN", Name: "ben", Deleted: true}}, {Absent: true}, {Absent: true}, got[4],
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
		t.Error(diff)
	}
	if !MissingScope(got[4].Err) {
		t.Errorf("err = %v", got[4].Err)
	}
}

// wire answers without a network, so that time can be a test's own.
type wire func(r *http.Request) (status int, header, body string)

func (f wire) RoundTrip(r *http.Request) (*http.Response, error) {
	status, after, body := f(r)
	rec := httptest.NewRecorder()
	if after != "" {
		rec.Header().Set("Retry-After", after)
	}
	rec.WriteHeader(status)
	io.WriteString(rec, body)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func over(t *testing.T, f wire) *Notifier {
	return New(Config{
		APIURL: "http://slack.test/api/", Token: func() (string, error) { return testToken, nil },
		HTTPClient: &http.Client{Transport: f},
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// Many people are read from the list of members, and only those who are not in it
// are asked for.
func TestManyMembers(t *testing.T) {
	const many = 300
	var lists, asks atomic.Int64
	n := over(t, func(r *http.Request) (int, string, string) {
		r.ParseForm()
		if strings.HasSuffix(r.URL.Path, "users.list") {
			page, _ := strconv.Atoi(r.Form.Get("cursor"))
			lists.Add(1)
			var list []string
			for i := range 100 {
				k := page*100 + i
				list = append(list, fmt.Sprintf(`{"id":"U%03d","profile":{"email":"P%d@example.org"}}`, k, k))
			}
			next := strconv.Itoa(page + 1)
			if page == 2 {
				list, next = slices.Delete(list, 90, 100), "" // ten have left
				list = append(list, `{"id":"UOLD","deleted":true,"profile":{"email":"p1@example.org"}}`)
			}
			return 200, "", fmt.Sprintf(`{"ok":true,"members":[%s],"response_metadata":{"next_cursor":%q}}`, strings.Join(list, ","), next)
		}
		asks.Add(1)
		return 200, "", `{"ok":false,"error":"users_not_found"}`
	})
	var people []Sought
	for i := range many {
		people = append(people, Sought{Email: fmt.Sprintf("p%d@example.org", i)})
	}
	absent := 0
	for i, f := range n.Members(t.Context(), people) {
		switch {
		case f.Err != nil:
			t.Errorf("person %d: %v", i, f.Err)
		case f.Absent:
			absent++
		case f.User.ID != fmt.Sprintf("U%03d", i):
			t.Errorf("person %d is %s", i, f.User.ID)
		}
	}
	if absent != 10 || lists.Load() != 3 || asks.Load() != 10 {
		t.Errorf("%d absent, %d lists, %d asks; want 10, 3, 10", absent, lists.Load(), asks.Load())
	}
}

// A rate limit is waited for, as long as there is time for it.
func TestSurveyWaits(t *testing.T) {
	for _, c := range []struct {
		name    string
		timeout time.Duration
		after   string
		want    string        // the error
		took    time.Duration // at least
	}{
		{"time enough", time.Minute, "20", "", 20 * time.Second},
		{"too long", 10 * time.Second, "20", "slack: rate limited for 20s, longer than there is time", 0},
		{"not said for how long", time.Minute, "", "", 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				n := over(t, func(*http.Request) (int, string, string) {
					if calls++; calls == 1 {
						return http.StatusTooManyRequests, c.after, ""
					}
					return 200, "", `{"ok":true,"user_id":"U1"}`
				})
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				_, err := n.Identify(ctx)
				if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && got != c.want {
					t.Errorf("err = %v, want %q", err, c.want)
				}
				if took := time.Since(start); took < c.took || c.took == 0 && took > 0 {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// Without time to wait nobody else is asked for.
func TestMembersGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		n := over(t, func(*http.Request) (int, string, string) {
			calls.Add(1)
			return http.StatusTooManyRequests, "60", ""
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for i, f := range n.Members(ctx, make([]Sought, 300)) {
			if f.Err == nil || !strings.Contains(f.Err.Error(), "rate limited for 1m0s") {
				t.Fatalf("person %d: %v", i, f.Err)
			}
		}
		if calls.Load() > 1+side {
			t.Errorf("%d calls while the rate is limited", calls.Load())
		}
	})
}

// A hiccup is tried again, and not for ever.
func TestSurveyHiccups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, broken := 0, 2
		n := over(t, func(*http.Request) (int, string, string) {
			if calls++; calls <= broken {
				return http.StatusBadGateway, "", ""
			}
			return 200, "", `{"ok":true,"user_id":"U1"}`
		})
		if _, err := n.Identify(t.Context()); err != nil || calls != 3 {
			t.Errorf("after %d calls: %v", calls, err)
		}
		calls, broken = 0, 100
		if _, err := n.Identify(t.Context()); err == nil || calls != 3 {
			t.Errorf("after %d calls: %v", calls, err)
		}
	})
}

func TestGroups(t *testing.T) {
	a := newAPI(t, say(`{"ok":true,"usergroups":[{"id":"S1","handle":"sre","users":["U1","U2"]},{"id":"S2","handle":"gone","date_delete":1700000000}]}`))
	got, err := a.notifier(t).Groups(t.Context())
	want := map[string]Group{"S1": {Handle: "sre", Members: 2}, "S2": {Handle: "gone", Disabled: true}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	form := a.asked()[0].form
	if form.Get("include_users") != "true" || form.Get("include_disabled") != "true" {
		t.Errorf("asked with %v", form)
	}
}
