package email_test

import (
	"log/slog"
	"strings"
	"testing"

	"callchain/notifiers"
	"callchain/notifiers/email"
	"callchain/notifiers/inbox"
	"callchain/notifiers/notifierstest"
)

// TestMailboxReadsThePage: what arrives can be read and its link used.
func TestMailboxReadsThePage(t *testing.T) {
	box, err := inbox.StartSMTP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	n, err := email.New(email.Config{Smarthost: box.Addr(), From: "callchain@example.org"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	page := notifierstest.To(notifiers.Page, notifierstest.Jane(), notifierstest.Incident())
	page.Address = "jane@example.org"
	box.Fail(1, inbox.MailFault{Cut: true})
	first, second := n.Deliver(t.Context(), page), n.Deliver(t.Context(), page)
	if first.Verdict != notifiers.Ambiguous || second.Verdict != notifiers.Sent {
		t.Fatalf("%v %v, then %v %v", first.Verdict, first.Err, second.Verdict, second.Err)
	}
	mails := box.Mails()
	if len(mails) != 2 || mails[0].MessageID != mails[1].MessageID || mails[0].MessageID != second.Ref.TS {
		t.Errorf("a repeated mail must carry the id of the first: %d mails, %v", len(mails), second.Ref)
	}
	if m := mails[0]; m.Err != "" || !strings.Contains(m.Text, "\n"+page.You.AckURL+"\n") || !strings.Contains(m.HTML, page.You.AckURL) {
		t.Errorf("%+v", m)
	}
}
