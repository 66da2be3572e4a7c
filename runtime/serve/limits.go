package serve

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of a request.
const (
	maxHeader     = 16 << 10
	maxBody       = 1 << 20
	maxJSONDepth  = 32
	maxMessages   = 1024
	maxChoices    = 4
	maxPrompts    = 32
	maxStops      = 8
	maxStopBytes  = 256
	maxTop        = 20
	maxTools      = 128
	maxBias       = 1024
	maxVariables  = 16
	maxVariableKB = 4
)

// apiError is an answer that is no success, in the form of OpenAI's.
type apiError struct {
	status  int
	code    string
	param   string
	message string
}

func (e *apiError) Error() string { return e.message }

// bad is an error of the client's, in one field.
func bad(param, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, "invalid_value", param, fmt.Sprintf(format, args...)}
}

// apiErrorOf says what a client may know of an error.
func apiErrorOf(err error) *apiError {
	var a *apiError
	switch {
	case errors.As(err, &a):
		return a
	case errors.Is(err, errBusy), errors.Is(err, errDraining), errors.Is(err, errLoading):
		return &apiError{http.StatusServiceUnavailable, "busy", "", err.Error()}
	case errors.Is(err, errSlow), errors.Is(err, errTotal):
		return &apiError{http.StatusGatewayTimeout, "timeout", "", err.Error()}
	case errors.Is(err, errInternal):
		return &apiError{http.StatusInternalServerError, "internal", "", errInternal.Error()}
	}
	return &apiError{http.StatusUnprocessableEntity, "generation_failed", "", err.Error()}
}

func asError(x any) error { return fmt.Errorf("%v", x) }

// refuse answers with an error.
func (s *Server) refuse(w http.ResponseWriter, e *apiError) {
	kind := "invalid_request_error"
	switch {
	case e.status >= 500:
		kind = "server_error"
	case e.status == http.StatusUnauthorized:
		kind = "authentication_error"
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	s.write(w, e.status, errorBody(kind, e))
}

func errorBody(kind string, e *apiError) any {
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	b := body{Message: e.message, Type: kind, Code: e.code}
	if e.param != "" {
		b.Param = &e.param
	}
	return struct {
		Error body `json:"error"`
	}{b}
}

// write answers with JSON.
func (s *Server) write(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a value of ours always has JSON
		status = http.StatusInternalServerError
		b.Reset()
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.o.WriteTimeout)) // not every writer has one
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that is gone hears nothing
}

// guard refuses requests that come by way of a foreign web page: those that name a host or origin that is not ours, so
// that no page can use a server on its reader's machine, not even by pointing its own name at 127.0.0.1.
func (s *Server) guard(w http.ResponseWriter, r *http.Request) *apiError {
	if !s.host(r.Host) {
		return &apiError{http.StatusForbidden, "forbidden_host", "", "the Host header names no host of this server; see --host-name"}
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	u, err := url.Parse(origin)
	if !slices.Contains(s.o.Origins, origin) && (err != nil || u.Host == "" || !s.host(u.Host)) {
		return &apiError{http.StatusForbidden, "forbidden_origin", "", "the Origin header names a page that may not use this server; see --origin"}
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Vary", "Origin")
	return nil
}

func (s *Server) host(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if strings.EqualFold(name, "localhost") || slices.ContainsFunc(s.o.Hosts, func(h string) bool { return strings.EqualFold(h, name) }) {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// keyed asks for the key. Hashes are compared, in constant time, so that neither content nor length shows.
func (s *Server) keyed(next http.HandlerFunc) http.HandlerFunc {
	want := sha256.Sum256([]byte(s.o.Key))
	return func(w http.ResponseWriter, r *http.Request) {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(got))
		if s.o.Key != "" && r.Method != http.MethodOptions && (subtle.ConstantTimeCompare(sum[:], want[:]) != 1 || !ok) {
			s.refuse(w, &apiError{http.StatusUnauthorized, "invalid_api_key", "", "this server wants its key as bearer token"})
			return
		}
		next(w, r)
	}
}

// only lets one method through, and what web pages ask before it.
func (s *Server) only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == method || method == http.MethodGet && r.Method == http.MethodHead:
			next(w, r)
		case r.Method == http.MethodOptions && r.Header.Get("Origin") != "":
			w.Header().Set("Access-Control-Allow-Methods", method)
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", method)
			s.refuse(w, &apiError{http.StatusMethodNotAllowed, "method_not_allowed", "", "this address takes " + method})
		}
	}
}

// decode reads a JSON body strictly: bounded, of one type, without unknown fields.
func (s *Server) decode(w http.ResponseWriter, r *http.Request, v any) *apiError {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		discard(r)
		return &apiError{http.StatusUnsupportedMediaType, "content_type", "", "the content type must be application/json"}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return &apiError{http.StatusRequestEntityTooLarge, "too_large", "", fmt.Sprintf("the body has over %d bytes", maxBody)}
	case err != nil:
		return &apiError{http.StatusRequestTimeout, "incomplete", "", "the body did not arrive"}
	case len(bytes.TrimSpace(data)) == 0:
		return bad("", "the body is empty")
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the body is here; what follows is the next request
	if jsonDepth(data) > maxJSONDepth {
		return bad("", "the body is nested deeper than %d", maxJSONDepth)
	}
	return unmarshal(data, v)
}

// unmarshal decodes JSON without unknown fields, and says in which field it fails.
func unmarshal(data []byte, v any) *apiError {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var a *apiError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &a):
		return a
	case errors.As(err, &kind):
		return bad(kind.Field, "%s cannot be a %s", kind.Field, kind.Value)
	case err != nil && strings.HasPrefix(err.Error(), "json: unknown field "):
		name := strings.Trim(strings.TrimPrefix(err.Error(), "json: unknown field "), `"`)
		return &apiError{http.StatusBadRequest, "unknown_parameter", clip(name), fmt.Sprintf("unknown field %q", clip(name))}
	case err != nil:
		return bad("", "the body is no JSON object: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("", "text follows the JSON object")
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "..."
	}
	return s
}

// jsonDepth returns how deep brackets nest outside strings.
func jsonDepth(data []byte) int {
	depth, most, in := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case in && c == '\\':
			i++
		case c == '"':
			in = !in
		case in:
		case c == '{' || c == '[':
			depth++
			most = max(most, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return most
}
