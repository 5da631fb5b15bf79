package slack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"callchain/notifiers/notifierstest"
)

func choices() []Choices {
	return []Choices{
		{"In the chain", []Option{{"person:jane", "jane, incident response"}, {"person:ravi", "ravi, development"}}},
		{"Teams", []Option{{"team:traffic", "traffic"}}},
	}
}

func formCases() map[string]Form {
	form := func(action string) Form {
		return Form{Action: action, Token: "v1|3f-k7q2|1|1|0", About: "parsoid: HighErrorRate"}
	}
	escalateTo, reassign, again, snooze, disown := form(ActionEscalateTo), form(ActionReassign), form(ActionReassign), form(ActionSnooze), form(ActionDisown)
	escalateTo.Groups, reassign.Groups, again.Groups, disown.Groups = choices(), choices(), choices(), choices()[1:]
	escalateTo.Named, disown.Named = true, true
	again.AskSure, again.Filled = true, Filled{To: "person:ravi", Reason: "he knows\nthe cache"}
	snoozeAgain := form(ActionSnooze)
	snoozeAgain.AskSure, snoozeAgain.Filled = true, Filled{For: "4h", Until: notifierstest.Opened.Add(3 * time.Hour)}
	nobody := form(ActionReassign)
	return map[string]Form{
		"form escalate to": escalateTo, "form reassign": reassign, "form reassign not in chain": again, "form reassign without a list": nobody,
		"form snooze": snooze, "form snooze not in chain": snoozeAgain, "form disown": disown,
		"form declare": form(ActionDeclare), "form note": form(ActionNote),
	}
}

// TestForms holds each form against a file of its own and Slack's limits.
func TestForms(t *testing.T) {
	views := map[string]slack.ModalViewRequest{"form that only says something": saying(ActionSnooze, "Already resolved at 14:41 UTC; nothing changed.")}
	for name, f := range formCases() {
		views[name] = f.view()
	}
	for name, v := range views {
		t.Run(name, func(t *testing.T) {
			if err := validateView(v); err != nil {
				t.Error(err)
			}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			if err := enc.Encode(v); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".json")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s changed (-want +got); look at it, then run with -update:\n%s", golden, diff)
			}
		})
	}
}

// TestFormCarriesTheTokenAlone: whatever else a form knows is asked again when
// it is sent off.
func TestFormCarriesTheTokenAlone(t *testing.T) {
	for name, f := range formCases() {
		if v := f.view(); v.PrivateMetadata != f.Token || v.CallbackID != f.Action || v.ExternalID != "" {
			t.Errorf("%s: %q, %q, %q", name, v.PrivateMetadata, v.CallbackID, v.ExternalID)
		}
	}
}

// A list longer than Slack takes is cut, not refused.
func TestFormIsCut(t *testing.T) {
	f := Form{Action: ActionReassign, Token: "v1|3f|1|1|0", Named: true}
	for g := range 2 * maxGroups {
		c := Choices{Label: fmt.Sprint("group ", g)}
		for i := range maxOptions + 5 {
			c.Options = append(c.Options, Option{fmt.Sprintf("person:p%d-%d", g, i), fmt.Sprint("p", i)})
		}
		f.Groups = append(f.Groups, c)
	}
	if err := validateView(f.view()); err != nil {
		t.Error(err)
	}
}

func FuzzForm(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s[:min(len(s), 500)])
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name, form := range formCases() {
			form.About, form.Filled = s, Filled{To: s, Name: s, For: s, Reason: s}
			form.Groups = append(form.Groups, Choices{s, []Option{{s, s}, {"team:x", s}}}, Choices{"empty", nil})
			if err := validateView(form.view()); err != nil {
				t.Errorf("%s, %.60q: %v", name, s, err)
			}
		}
		if err := validateView(saying(ActionSnooze, s)); err != nil {
			t.Errorf("saying %.60q: %v", s, err)
		}
	})
}

const submitted = `{"type":"view_submission","user":{"id":"U01JANE","team_id":"T1","username":"jane"},"api_app_id":"A1","team":{"id":"T1"},"trigger_id":"1.2.4",
"view":{"id":"V1","callback_id":"reassign","private_metadata":"v1|3f|1|1|0","state":{"values":{
"to":{"to":{"type":"static_select","selected_option":{"text":{"type":"plain_text","text":"ravi"},"value":"person:ravi"}}},
"name":{"name":{"type":"plain_text_input","value":null}},
"for":{"for":{"type":"radio_buttons","selected_option":null}},
"until":{"until":{"type":"datetimepicker","selected_date_time":1795191723}},
"reason":{"reason":{"type":"plain_text_input","value":" he knows\nthe cache "}},
"sure":{"sure":{"type":"checkboxes","selected_options":[{"value":"yes"}]}}}}},"response_urls":[]}`

func TestParseForm(t *testing.T) {
	got, err := ParsePayload([]byte(submitted))
	if err != nil {
		t.Fatal(err)
	}
	want := Interaction{
		Action: ActionReassign, Token: "v1|3f|1|1|0", User: Presser{"U01JANE", "T1", "jane"}, AppID: "A1", TeamID: "T1", TriggerID: "1.2.4",
		Filled: &Filled{To: "person:ravi", Until: time.Unix(1795191723, 0).UTC(), Reason: "he knows\nthe cache", Sure: true, First: FieldTo},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestParseMenu: an option of the menu is a press of its action, and the block
// tells which message it was on.
func TestParseMenu(t *testing.T) {
	got, err := ParsePayload([]byte(`{"type":"block_actions","user":{"id":"U1"},"trigger_id":"1.2.3","actions":[
		{"type":"overflow","action_id":"more","block_id":"delivery.abc","selected_option":{"value":"snooze|v1|3f|1|1|0"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Interaction{Action: ActionSnooze, Token: "v1|3f|1|1|0", User: Presser{ID: "U1"}, TriggerID: "1.2.3", Delivery: "abc"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestFormsAreSent: the modal is opened with the trigger and filled under its id.
func TestFormsAreSent(t *testing.T) {
	var calls []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		calls = append(calls, r.URL.Path+" "+body.String())
		if strings.Contains(body.String(), "old") {
			_, _ = w.Write([]byte(`{"ok":false,"error":"expired_trigger_id"}`))
			return
		}
		_, _ = w.Write([]byte(`{"ok":true,"view":{"id":"V1"}}`))
	}))
	t.Cleanup(server.Close)
	n := New(Config{APIURL: server.URL + "/api/", Token: func() (string, error) { return testToken, nil }}, nil)
	id, err := n.OpenForm(t.Context(), "1.2.3", ActionSnooze)
	if err != nil || id != "V1" || !strings.HasPrefix(calls[0], "/api/views.open ") || !strings.Contains(calls[0], `"trigger_id":"1.2.3"`) {
		t.Errorf("%q, %v, %q", id, err, calls)
	}
	if err := n.FillForm(t.Context(), id, formCases()["form snooze"]); err != nil || !strings.Contains(calls[1], `"view_id":"V1"`) {
		t.Errorf("%v, %q", err, calls[1])
	}
	if err := n.SayInForm(t.Context(), id, ActionSnooze, "Already resolved."); err != nil || !strings.Contains(calls[2], "Already resolved.") {
		t.Errorf("%v, %q", err, calls[2])
	}
	if _, err := n.OpenForm(t.Context(), "old", ActionSnooze); err == nil || !strings.Contains(err.Error(), "expired_trigger_id") {
		t.Errorf("got %v", err)
	}
	if err := n.FillForm(t.Context(), "", Form{}); err == nil {
		t.Error("a form that is not open was filled")
	}
}

// TestAnswer: what a command shows fits, whatever the catalog holds.
func TestAnswer(t *testing.T) {
	for i, s := range notifierstest.HostileTexts {
		checkAnswer(t, s)
		if t.Failed() {
			t.Fatal("text", i)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range notifierstest.HostileTexts {
		f.Add(s[:min(len(s), 500)])
	}
	f.Add("Service  parsoid\n  state   active\n")
	f.Fuzz(checkAnswer)
}

func checkAnswer(t *testing.T, s string) {
	a := Answer{
		Title: s, Sheet: s + "\n" + s, Last: s, Now: notifierstest.Opened,
		Lines: []AnswerLine{{Name: s, Before: s, At: notifierstest.Opened, After: s}, {Before: s}, {Name: s}},
	}
	for range maxItems + 5 {
		a.Lines = append(a.Lines, a.Lines[0])
		a.Items = append(a.Items, Item{ID: s, Title: s, Text: s, Token: "v1|3f|1|1|0"})
	}
	raw, err := json.Marshal(a.Payload())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Type string `json:"response_type"`
		Text string
	}
	if err := json.Unmarshal(raw, &got); err != nil || got.Type != "ephemeral" {
		t.Fatalf("%v: %s", err, raw)
	}
	payload, _ := a.Payload().(map[string]any)
	blocks, _ := payload["blocks"].([]slack.Block)
	if err := validate(rendered{text: mrkdwn(got.Text), blocks: blocks}); err != nil {
		t.Errorf("%.60q: %v", s, err)
	}
}

func TestSheetKeepsItsColumns(t *testing.T) {
	raw, err := json.Marshal(Answer{Title: "x", Sheet: "Service parsoid\n  state    active\n  what     `code` <!channel>\n"}.Payload())
	if want := "```\\nService parsoid\\n  state    active\\n  what     'code' \\u0026lt;!channel\\u0026gt;\\n```"; err != nil || !strings.Contains(string(raw), want) {
		t.Errorf("%v: %s", err, raw)
	}
}
