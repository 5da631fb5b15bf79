package slack

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"callchain/notifiers"
)

// call is what the classification needs to know of a call beside its error.
type call struct {
	token string
	wrote bool // the request was, or may have been, written
	edit  bool // chat.update: repeating it does no harm
	try   int  // of this message, from 1
	read  bool // a look-up: nothing was posted, whatever went wrong
}

// errEmpty is an answer that claims success without naming a message.
var errEmpty = errors.New("the answer is empty")

// unlimited is how long to wait when Slack limits the rate and does not say for how long.
const unlimited = 30 * time.Second

// longest is the longest wait that is believed: a proxy's hour is none of Slack's.
const longest = 10 * time.Minute

// failure is the error of a Result: words for people, and Slack's code.
type failure struct {
	code    string
	text    string
	unknown bool // it is no code that callchain knows
}

func (f *failure) Error() string { return f.text }

// class is what an error code of Slack's means for a delivery.
type class struct {
	verdict notifiers.Verdict
	after   time.Duration
	content bool // a simpler message may pass
	cure    bool // a person has to do something about it
	codes   []string
}

var classes = []class{
	{verdict: notifiers.Retry, after: unlimited, codes: []string{"ratelimited", "rate_limited"}},
	{verdict: notifiers.Retry, after: time.Minute, cure: true, codes: []string{"message_limit_exceeded"}},
	{verdict: notifiers.Retry, codes: []string{
		"service_unavailable", "external_channel_migrating", "team_added_to_org", "fetch_members_failed", "update_failed",
	}},
	{verdict: notifiers.Ambiguous, codes: []string{"internal_error", "fatal_error", "request_timeout"}},
	{verdict: notifiers.Down, codes: []string{
		"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
		"not_allowed_token_type", "no_permission", "access_denied", "accesslimited", "app_access_restricted",
		"org_login_required", "two_factor_setup_required", "team_access_not_granted", "enterprise_is_restricted",
		"ekm_access_denied",
	}},
	{verdict: notifiers.Refused, cure: true, codes: []string{
		"channel_not_found", "is_archived", "is_inactive", "not_in_channel", "restricted_action",
		"restricted_action_read_only_channel", "restricted_action_non_threadable_channel", "restricted_action_thread_only_channel",
		"user_not_found", "users_not_found", "user_disabled", "user_not_visible", "messages_tab_disabled", "cannot_dm_bot",
		"no_such_subteam", "posting_to_channel_denied",
	}},
	{verdict: notifiers.Gone, codes: []string{
		"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found", "cannot_reply_to_message",
		"restricted_action_thread_locked", "block_mismatch",
	}},
	{verdict: notifiers.Refused, content: true, codes: []string{
		"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text", "invalid_attachments",
		"too_many_attachments", "attachment_payload_limit_exceeded", "metadata_too_large", "invalid_metadata_format",
		"invalid_metadata_schema", "metadata_must_be_sent_from_app", "invalid_arguments", "invalid_arg_name", "invalid_array_arg",
		"invalid_charset", "invalid_form_data", "invalid_post_type", "missing_post_type",
	}},
	// Of an edit: somebody else made it already.
	{verdict: notifiers.Sent, codes: []string{"already_reacted", "hash_conflict", "expired_trigger_id", "exchanged_trigger_id"}},
}

// hints say what to do about the codes that a person must cure.
var hints = map[string]string{
	"invalid_auth":          "the bot token is not valid; put a valid one into bot_token_file",
	"not_authed":            "no bot token was sent; check bot_token_file",
	"account_inactive":      "the app's bot was removed from the workspace; install it again",
	"token_revoked":         "the bot token was revoked; install the app again and store its new token",
	"token_expired":         "the bot token expired; token rotation must be off for this app",
	"missing_scope":         "the app lacks a scope; install it again with the manifest's scopes",
	"channel_not_found":     "there is no such channel or member, or callchain was not invited to it",
	"is_archived":           "the channel is archived; name another one in the catalog, or unarchive it",
	"not_in_channel":        "callchain is not in the channel; invite it",
	"user_not_found":        "there is no such member",
	"users_not_found":       "no member has this e-mail address",
	"user_disabled":         "the member's account is deactivated",
	"messages_tab_disabled": "the app's messages tab is off; switch it on in the app's settings",
	"cannot_dm_bot":         "the member is a bot",

	"message_limit_exceeded":              "the workspace takes no more messages for its plan",
	"user_not_visible":                    "the app may not see this member",
	"restricted_action_read_only_channel": "only some members may post in the channel; allow the app to",
	"posting_to_channel_denied":           "the workspace does not let apps post in this channel",
}

func classOf(code string) (class, bool) {
	for _, c := range classes {
		if slices.Contains(c.codes, code) {
			return c, true
		}
	}
	if strings.HasPrefix(code, "restricted_action") {
		return class{verdict: notifiers.Refused, cure: true}, true
	}
	if strings.HasPrefix(code, "invalid_metadata") {
		return class{verdict: notifiers.Refused, content: true}, true
	}
	return class{}, false
}

// isCode tells whether an error is this code of Slack's.
func isCode(err error, code string) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.code == code
}

// patience is how often what nobody knows is tried as it is, and a server that
// nobody can connect to.
const patience = 3

// isContent tells that Slack refused what the message says, not where it goes. A
// code that callchain does not know may be about either: after a few tries a
// simpler message is tried.
func isContent(err error, tries int) bool {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return false
	}
	c, _ := classOf(f.code)
	return c.content || f.unknown && tries >= patience
}

// classify turns an error of slack-go's into a verdict. A rate limit has four
// shapes there. What is unknown is tried again: a page in doubt is worth more
// than a page lost.
func classify(err error, c call) notifiers.Result {
	var (
		limited *slack.RateLimitedError
		status  slack.StatusCodeError
		number  *strconv.NumError
		refusal slack.SlackErrorResponse
	)
	words := "slack: " + redact(err.Error(), c.token)
	result := notifiers.Result{Verdict: notifiers.Retry, Err: &failure{text: words}}
	switch {
	case errors.As(err, &limited):
		result.After = min(max(limited.RetryAfter, time.Second), longest)
		result.Err = &failure{code: "ratelimited", text: fmt.Sprintf("slack: rate limited for %s", result.After)}
	case errors.As(err, &number): // 429 with a Retry-After that is no number
		result.After = unlimited
		result.Err = &failure{code: "ratelimited", text: "slack: rate limited"}
	case errors.As(err, &status):
		result.Err = &failure{text: fmt.Sprintf("slack: the API answered HTTP %d", status.Code)}
		switch {
		case status.Code == http.StatusTooManyRequests:
			result.After = unlimited
		case status.Code >= 500:
			result.Verdict = c.unsure()
		case status.Code == http.StatusUnauthorized, status.Code == http.StatusForbidden:
			result.Verdict = notifiers.Down
		}
	case errors.As(err, &refusal):
		result = c.refusal(refusal)
	case errors.Is(err, errEmpty):
		result.Verdict = c.unsure()
	case c.try >= patience && undialled(err):
		result.Verdict = notifiers.Down // not in the middle of a restart: nobody gets anything
	case c.wrote: // a timeout, a cut connection, an answer that is no JSON
		result.Verdict = c.unsure()
	}
	return result
}

// undialled tells that no connection came about.
func undialled(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// refusal reads a code of Slack's.
func (c call) refusal(r slack.SlackErrorResponse) notifiers.Result {
	words := "slack: " + redact(r.Err, c.token)
	if hint := hints[r.Err]; hint != "" {
		words += ": " + hint
	}
	if r.Err == "missing_scope" && r.Needed != "" {
		words += " (needed: " + notifiers.Clean(r.Needed, 100) + ")"
	}
	if len(r.ResponseMetadata.Messages) > 0 {
		words += " (" + redact(notifiers.Clean(strings.Join(r.ResponseMetadata.Messages, "; "), 300), c.token) + ")"
	}
	found, ok := classOf(r.Err)
	result := notifiers.Result{Verdict: notifiers.Retry, Err: &failure{code: r.Err, text: words, unknown: !ok}}
	if !ok {
		return result
	}
	result.Verdict, result.After, result.Cure = found.verdict, found.after, found.cure
	switch {
	case found.verdict == notifiers.Ambiguous:
		result.Verdict = c.unsure()
	case found.verdict == notifiers.Sent:
		result.Err = nil
		if !c.edit {
			result.Verdict, result.Err = notifiers.Retry, &failure{code: r.Err, text: words}
		}
	case c.read && r.Err == "missing_scope", c.read && r.Err == "enterprise_is_restricted":
		result.Verdict, result.Cure = notifiers.Refused, true // only the look-up is forbidden, posting may work
	}
	return result
}

// unsure is the verdict when Slack may have done what it was asked.
func (c call) unsure() notifiers.Verdict {
	if c.edit || c.read {
		return notifiers.Retry
	}
	return notifiers.Ambiguous
}

// What opens something in Slack: tokens, response URLs, the tickets of Socket Mode.
var secrets = regexp.MustCompile(`xox[a-z.]*-[0-9A-Za-z-]+|xapp-[0-9A-Za-z-]+|hooks\.slack(?:-gov)?\.com/[^\s"]+|\bticket=[^\s"&]+`)

// Redact takes out of a text what looks like a secret of Slack's.
func Redact(s string) string { return secrets.ReplaceAllString(s, "<secret>") }

// redact takes out what looks like a secret, and the token itself.
func redact(s, token string) string {
	if token != "" {
		s = strings.ReplaceAll(s, token, "<secret>")
	}
	return Redact(s)
}
