package convert

import (
	"html"
	"regexp"
	"strings"
)

// What a wiki's markup is replaced by, in this order. Each finds its matches in
// time linear in the text.
var markup = []struct {
	find    *regexp.Regexp
	replace string
}{
	{regexp.MustCompile(`(?s)<!--.*?-->`), ""},
	{regexp.MustCompile(`(?is)<ref[^>]*/>`), ""},
	{regexp.MustCompile(`(?is)<ref[^>]*>.*?</ref>`), ""},
	{regexp.MustCompile(`(?i)<br[^>]*>`), ", "},
	{regexp.MustCompile(`</?[a-zA-Z][^<>]*>`), ""},
	{regexp.MustCompile(`\[\[(?:[^\[\]|]*\|)+([^\[\]|]*)\]\]`), "$1"},           // [[page|text]]
	{regexp.MustCompile(`\[\[:?(?:User:|user:)?([^\[\]|]*)\]\]`), "$1"},         // [[page]]
	{regexp.MustCompile(`\[(?:https?:)?//[^\s\]]+\s+([^\]]*)\]`), "$1"},         // [https://... text]
	{regexp.MustCompile(`\[([^\[\]]*)\]\((?:https?:)?[^()\s]*\)`), "$1"},        // Markdown's [text](https://...)
	{regexp.MustCompile(`\{\{[^{}|]*\|(?:[^{}|]*\|)*([^{}|=]*)\}\}`), "$1"},     // {{template|...|text}}
	{regexp.MustCompile(`\{\{([^{}|]*)\}\}`), "$1"},                             // {{template}}
	{regexp.MustCompile(`'{2,5}|\*\*`), ""},                                     // bold, italic
	{regexp.MustCompile("`"), ""},                                               // code
	{regexp.MustCompile(`\[(?:[0-9]+|edit|note [0-9]+|citation needed)\]`), ""}, // footnotes, as they are copied from a page
}

// unwiki is a cell as plain text in one line.
func unwiki(s string) string {
	for range 2 { // what stands within other markup
		for _, m := range markup {
			s = m.find.ReplaceAllString(s, m.replace)
		}
	}
	return strings.Trim(printable(html.UnescapeString(s)), " ,")
}
