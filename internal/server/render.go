package server

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed pages.html
var pagesHTML string

//go:embed style.css
var style string

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
}).Parse(pagesHTML))

// policy allows our style sheet and forms to ourselves, nothing else: no label
// of an alert can run in a browser.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

func render(w http.ResponseWriter, status int, page string, data any) {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, page, data); err != nil {
		panic(err) // the templates and their data are ours
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	if h.Get("Referrer-Policy") == "" {
		h.Set("Referrer-Policy", "no-referrer")
	}
	w.WriteHeader(status)
	w.Write(body.Bytes())
}
