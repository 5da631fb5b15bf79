package demo

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestMrkdwn(t *testing.T) {
	n := names(func(id string) string { return map[string]string{"U1": "amira", "C1": "incidents"}[id] })
	for _, tc := range []struct{ name, in, want string }{
		{"plain", "a & b", "a &amp; b"},
		{"entities", "&lt;b&gt; &amp;lt;", "&lt;b&gt; &amp;lt;"},
		{"emphasis", "*bold* _it_ ~gone~", "<b>bold</b> <i>it</i> <s>gone</s>"},
		{"names are no emphasis", "mw_page_content 2*3*4", "mw_page_content 2*3*4"},
		{"code keeps marks", "`*a* <b>`", "<code>*a* &lt;b&gt;</code>"},
		{"fence", "```x\n*y*```", "<pre>x\n*y*</pre>"},
		{"line ends", "a\nb", "a<br>b"},
		{"quote", "&gt; said", `<span class="quote"> said</span>`},
		{"member", "<@U1>", `<span class="mention">@amira</span>`},
		{"channel", "<#C1|incidents>", `<span class="mention">#incidents</span>`},
		{"group", "<!subteam^S1|@sre>", `<span class="mention">@sre</span>`},
		{"everybody", "<!here>", `<span class="mention">@here</span>`},
		{"link", "<https://e.org/?a=1&amp;b=2|run &lt;book&gt;>", `<a href="https://e.org/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">run &lt;book&gt;</a>`},
		{"bare link", "<https://e.org/>", `<a href="https://e.org/" target="_blank" rel="noopener noreferrer">https://e.org/</a>`},
		{"no link", "<javascript:alert(1)|x>", "x"},
		{"link with a quote", `<https://e.org/"onclick="x|y>`, `<a href="https://e.org/%22onclick=%22x" target="_blank" rel="noopener noreferrer">y</a>`},
		{"date", "<!date^0^{time}|00:00 UTC>", `<time datetime="1970-01-01T00:00:00Z" data-format="{time}">00:00 UTC</time>`},
		{"place mark from outside", "\x000\x00", "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(mrkdwn(tc.in, n)); strings.ReplaceAll(got, "&#34;", `"`) != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestRichText(t *testing.T) {
	n := names(func(id string) string { return id })
	raw := `[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[
		{"type":"text","text":"up ","style":{"bold":true}},{"type":"text","text":"<i>","style":{"code":true}},
		{"type":"link","url":"https://e.org","text":"here"},{"type":"link","url":"javascript:x","text":"there"},{"type":"user","user_id":"U1"}]}]}]`
	got := blocks(json.RawMessage(raw), "", n)
	want := `<span class="line"><b>up </b><code>&lt;i&gt;</code><a href="https://e.org" target="_blank" rel="noopener noreferrer">here</a>there<span class="mention">@U1</span></span>`
	if len(got) != 1 || string(got[0].HTML) != want {
		t.Errorf("%+v", got)
	}
}

// Whatever a label holds, the only tags are those that the renderer writes.
func FuzzMrkdwn(f *testing.F) {
	for _, s := range []string{"*a* <@U1>", "`<b>`", "```<x|y>```", "<https://e.org|*a*>", "&lt;script&gt;", "<!date^1^{time}|\"x\">", "_<a_|b>_"} {
		f.Add(s)
	}
	tag := regexp.MustCompile(`</?(b|i|s|code|pre|br)>|<a href="https?://[^"<>]*" target="_blank" rel="noopener noreferrer">|</a>|<span class="(mention|quote)">|</span>|<time datetime="[0-9TZ:+-]*" data-format="[^"<>]*">|</time>`)
	f.Fuzz(func(t *testing.T, s string) {
		out := tag.ReplaceAllString(string(mrkdwn(s, func(id string) string { return id })), "")
		if strings.ContainsAny(out, `<>"`) {
			t.Errorf("%q became %q", s, out)
		}
	})
}
