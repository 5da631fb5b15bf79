package slack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// What looks at a whole workspace, before anybody is paged. Nothing here posts,
// opens a conversation or changes anything. Unlike Deliver these calls wait when
// Slack limits the rate: nobody is waiting for them but the one who asked.

// side is how many look-ups are under way at once.
const side = 4

// Identity is who the bot token belongs to.
type Identity struct {
	Team, Bot string
	Scopes    []string // granted to the token
	Told      bool     // Slack named the scopes
}

// Identify asks Slack who the token belongs to (auth.test).
func (n *Notifier) Identify(ctx context.Context) (Identity, error) {
	var answer *slack.AuthTestResponse
	err := n.ask(ctx, func(api *slack.Client) (err error) {
		answer, err = api.AuthTestContext(ctx)
		if err == nil && answer.UserID == "" && answer.TeamID == "" {
			err = errEmpty
		}
		return err
	})
	if err != nil {
		return Identity{}, err
	}
	n.learn(answer)
	who := Identity{Team: notifiers.Clean(answer.Team, 100), Bot: notifiers.Clean(answer.User, 100)}
	who.Scopes, who.Told = scopesOf(answer)
	return who, nil
}

// scopesOf are the scopes that an answer says were granted, if it says so.
func scopesOf(answer *slack.AuthTestResponse) (scopes []string, told bool) {
	granted, told := answer.Header[http.CanonicalHeaderKey("X-OAuth-Scopes")]
	if len(granted) > 0 {
		scopes = strings.FieldsFunc(strings.Join(granted, ","), func(r rune) bool { return r == ',' || r == ' ' })
	}
	return scopes, told
}

// Place is a channel as a board sees it.
type Place struct {
	ID, Name string
	Private  bool
	Member   bool // the bot is in it
	Archived bool
	External bool // people of other organisations are in it
	Guests   bool // guests are in it: only Watch looks for them
}

func place(c slack.Channel) Place {
	return Place{
		ID: c.ID, Name: notifiers.Clean(c.Name, 100), Private: c.IsPrivate, Member: c.IsMember,
		Archived: c.IsArchived, External: c.IsExtShared,
	}
}

// Renamed tells whether it has another name by now than the one it was found by.
func (p Place) Renamed(from string) bool {
	return p.Name != "" && named(from) && !strings.EqualFold(p.Name, strings.TrimPrefix(from, "#"))
}

// Places finds channels by id, or by name with or without "#", also by a name that a
// channel had before, if none has it now. A name that is not among the results names
// no channel that the bot can see; the error, if any, is why names could not be
// looked for.
func (n *Notifier) Places(ctx context.Context, names []string) (map[string]Place, error) {
	found, former := map[string]Place{}, map[string]Place{}
	want := map[string][]string{} // name without "#" -> as it was written
	var ids []string
	for _, name := range names {
		if !named(name) {
			ids = append(ids, name)
			continue
		}
		bare := strings.ToLower(strings.TrimPrefix(name, "#"))
		want[bare] = append(want[bare], name)
	}
	var mu sync.Mutex
	err := alongside(ids, func(id string) error {
		return n.ask(ctx, func(api *slack.Client) error {
			c, err := api.GetConversationInfoContext(ctx, &slack.GetConversationInfoInput{ChannelID: id})
			if code(err) == "channel_not_found" {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found[id] = place(*c)
			return nil
		})
	})
	if err != nil || len(want) == 0 {
		return found, err
	}
	defer func() {
		for name, p := range former {
			if _, ok := found[name]; !ok {
				found[name] = p
			}
		}
	}()
	listed := n.list(ctx, []string{"public_channel", "private_channel"}, want, found, former)
	if f, ok := errors.AsType[*failure](listed); ok && f.code == "missing_scope" {
		// Perhaps only the private ones may not be listed.
		if err := n.list(ctx, []string{"public_channel"}, want, found, former); err != nil {
			return found, err
		}
		if len(want) == 0 {
			return found, nil
		}
	}
	return found, listed
}

// list goes through the channels and moves those that are wanted to found. Former
// are those that once had a wanted name.
func (n *Notifier) list(ctx context.Context, types []string, want map[string][]string, found, former map[string]Place) error {
	for cursor := ""; len(want) > 0; {
		var page []slack.Channel
		var next string
		err := n.ask(ctx, func(api *slack.Client) (err error) {
			page, next, err = api.GetConversationsContext(ctx, &slack.GetConversationsParameters{Cursor: cursor, Limit: 1000, Types: types})
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range page {
			name := strings.ToLower(c.Name)
			for _, written := range want[name] {
				found[written] = place(c)
			}
			delete(want, name)
			for _, was := range c.PreviousNames {
				for _, written := range want[strings.ToLower(was)] {
					if p, ok := former[written]; !ok || p.Archived {
						former[written] = place(c)
					}
				}
			}
		}
		if next == "" || next == cursor {
			return nil
		}
		cursor = next
	}
	return nil
}

// Sought is a person to look for: by member id, else by e-mail address.
type Sought struct{ ID, Email string }

// Found is what became of one who was sought.
type Found struct {
	User   User
	Absent bool  // Slack knows nobody with this id or address
	Err    error // why it could not be told
}

// Of more people than this it is quicker to read the list of members, a thousand
// at a time, than to ask for each: Slack allows fifty such questions a minute.
const (
	askEach  = 50
	maxPages = 10
)

// Members looks for people; the results are in their order.
func (n *Notifier) Members(ctx context.Context, people []Sought) []Found {
	all := make([]Found, len(people))
	var rest []int
	byID, byEmail := map[string]User{}, map[string]User{}
	if len(people) > askEach {
		n.members1000(ctx, byID, byEmail)
	}
	for i, p := range people {
		if u, ok := byID[p.ID]; ok && p.ID != "" {
			all[i].User = u
		} else if u, ok := byEmail[strings.ToLower(p.Email)]; ok && p.ID == "" && p.Email != "" {
			all[i].User = u
		} else {
			rest = append(rest, i)
		}
	}
	// When there is no time to wait for Slack, the others are not asked for either.
	var out atomic.Pointer[error]
	_ = alongside(rest, func(i int) error { // each error is in its result
		if err := out.Load(); err != nil {
			all[i].Err = *err
			return nil
		}
		all[i] = n.member(ctx, people[i])
		if f, _ := errors.AsType[*failure](all[i].Err); ctx.Err() != nil || f != nil && f.code == "ratelimited" {
			out.Store(&all[i].Err)
		}
		return nil
	})
	return all
}

func (n *Notifier) member(ctx context.Context, p Sought) (f Found) {
	f.Err = n.ask(ctx, func(api *slack.Client) error {
		var u *slack.User
		var err error
		if p.ID != "" {
			u, err = api.GetUserInfoContext(ctx, p.ID)
		} else {
			u, err = api.GetUserByEmailContext(ctx, p.Email)
		}
		switch c := code(err); {
		case c == "user_not_found", c == "users_not_found":
			f.Absent = true
			return nil
		case err != nil:
			return err
		case u.ID == "":
			return errEmpty
		}
		f.User = userOf(u)
		return nil
	})
	return f
}

// members1000 reads the list of members, as far as it goes: who is not in it is
// asked for.
func (n *Notifier) members1000(ctx context.Context, byID, byEmail map[string]User) {
	cursor := ""
	for range maxPages {
		var page slack.UserPagination
		err := n.ask(ctx, func(api *slack.Client) (err error) {
			page, err = api.GetUsersPaginated(slack.GetUsersOptionLimit(1000), slack.GetUsersOptionCursor(cursor)).Next(ctx)
			return err
		})
		if err != nil {
			return
		}
		for i := range page.Users {
			u := userOf(&page.Users[i])
			byID[u.ID] = u
			// A deactivated account may have the address of the one that took its place.
			if key := strings.ToLower(u.Email); key != "" && !u.Deleted {
				byEmail[key] = u
			}
		}
		if page.Cursor == "" || page.Cursor == cursor {
			return
		}
		cursor = page.Cursor
	}
}

// Group is a user group.
type Group struct {
	Handle   string
	Members  int
	Disabled bool
}

// Groups lists the workspace's user groups, by id.
func (n *Notifier) Groups(ctx context.Context) (map[string]Group, error) {
	var list []slack.UserGroup
	err := n.ask(ctx, func(api *slack.Client) (err error) {
		list, err = api.GetUserGroupsContext(ctx, slack.GetUserGroupsOptionIncludeUsers(true), slack.GetUserGroupsOptionIncludeDisabled(true))
		return err
	})
	if err != nil {
		return nil, err
	}
	groups := map[string]Group{}
	for _, g := range list {
		groups[g.ID] = Group{Handle: notifiers.Clean(g.Handle, 100), Members: len(g.Users), Disabled: g.DateDelete != 0}
	}
	return groups, nil
}

// MissingScope tells whether a call was refused for lack of a scope.
func MissingScope(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.code == "missing_scope"
}

// ask makes a call that changes nothing, and again when Slack limits the rate or
// hiccups, until ctx ends.
func (n *Notifier) ask(ctx context.Context, do func(*slack.Client) error) error {
	const tries = 3 // not counting those that were one too many for Slack
	for failed := 0; ; {
		api, token, err := n.api()
		if err != nil {
			return err
		}
		if err = do(api); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.New("slack: no answer in time")
		}
		result := classify(err, call{token: token, read: true})
		if result.Verdict != notifiers.Retry {
			return result.Err
		}
		wait := result.After
		if wait == 0 {
			if failed++; failed == tries {
				return result.Err
			}
			wait = 200 * time.Millisecond << failed
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
			if result.After > 0 {
				return fmt.Errorf("%w, longer than there is time", result.Err)
			}
			return result.Err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.New("slack: no answer in time")
		}
	}
}

// code is Slack's own word for what is wrong.
func code(err error) string {
	r, _ := errors.AsType[slack.SlackErrorResponse](err)
	return r.Err
}

// alongside calls f for all, a few at once, and returns the first error.
func alongside[T any](all []T, f func(T) error) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	slots := make(chan struct{}, side)
	for _, v := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(v); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
			}
		})
	}
	wg.Wait()
	return first
}
