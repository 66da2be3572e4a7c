package strict

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parelm/pare/model/tensor"
)

// Extender is a struct that knows more keys once its own are decoded: those of the algorithm it names, say. Extra returns
// pointers to structs that take the remaining keys of the same mapping, holding their defaults. An error made with Bad is
// reported at its key.
type Extender interface{ Extra() ([]any, error) }

// NodeDecoder is a type that reads its value itself.
type NodeDecoder interface{ DecodeNode(Node) error }

// maxErrors bounds what one look at a document reports.
const maxErrors = 20

// keyError is an error about one key of the mapping being decoded.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// Bad returns an error about the value of a key, for Extra and other checks that see structs instead of nodes.
func Bad(key, format string, args ...any) error {
	return &keyError{key, fmt.Errorf(format, args...)}
}

// IsBad reports an error made with Bad.
func IsBad(err error) bool {
	var ke *keyError
	return errors.As(err, &ke)
}

// At turns an error made with Bad into one that names the line of the key in the mapping n.
func (n Node) At(err error) error {
	var ke *keyError
	if errors.As(err, &ke) {
		if v, ok := n.Get(ke.key); ok {
			return v.Errorf(tensor.ErrInvalid, "%v", ke.err)
		}
		return n.child(n.n, ke.key).Errorf(tensor.ErrInvalid, "%v", ke.err)
	}
	return n.Errorf(tensor.ErrInvalid, "%v", err)
}

// Decode fills structs, given as pointers that hold their defaults, from one mapping. Nothing stands for an empty
// mapping. The error joins everything that is wrong, each with its line.
func (n Node) Decode(targets ...any) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	var errs []error
	taken := map[string]bool{}
	known := []string{}
	take := func(targets []any) {
		for _, f := range Fields(targets...) {
			if slices.Contains(known, f.Key) {
				panic(fmt.Sprintf("strict: key %q is declared twice, once in %v", f.Key, f.Struct))
			}
			known = append(known, f.Key)
			for _, p := range pairs {
				if p.Key == f.Key {
					taken[f.Key] = true
					errs = append(errs, p.Value.decodeField(f))
				}
			}
		}
	}
	take(targets)
	for i := 0; i < len(targets); i++ {
		e, ok := targets[i].(Extender)
		if !ok {
			continue
		}
		more, err := e.Extra()
		if err != nil {
			errs = append(errs, n.At(err))
			continue
		}
		take(more)
		targets = append(targets, more...)
	}
	unknown := 0
	for _, p := range pairs {
		if taken[p.Key] {
			continue
		}
		hint := ""
		if unknown++; unknown <= maxErrors {
			hint = DidYouMean(p.Key, known)
		}
		errs = append(errs, p.key.Errorf(tensor.ErrInvalid, "unknown key%s", hint))
	}
	return Join(errs...)
}

// Join joins errors, flattened and without repetitions, and says so when it leaves some out.
func Join(errs ...error) error {
	var flat []error
	more := 0
	var add func(err error)
	add = func(err error) {
		if j, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range j.Unwrap() {
				add(e)
			}
			return
		}
		switch {
		case err == nil:
		case len(flat) >= maxErrors:
			more++
		case !slices.ContainsFunc(flat, func(e error) bool { return e.Error() == err.Error() }):
			flat = append(flat, err)
		}
	}
	for _, err := range errs {
		add(err)
	}
	if more > 0 {
		flat = append(flat, fmt.Errorf("and %d more", more))
	}
	return errors.Join(flat...)
}

func (n Node) decodeField(f Field) error {
	if err := n.decode(f.Value, f.Tag); err != nil {
		return err
	}
	return n.check(f.Value, f.Tag)
}

// decode fills v, of any type, from the node.
func (n Node) decode(v reflect.Value, tag reflect.StructTag) error {
	t := v.Type()
	if reflect.PointerTo(t).Implements(nodeType) {
		return v.Addr().Interface().(NodeDecoder).DecodeNode(n)
	}
	if reflect.PointerTo(t).Implements(textType) && !n.IsMap() && !n.IsList() && t.Kind() != reflect.Slice {
		text, err := n.Text()
		if err == nil {
			if e := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); e != nil {
				err = n.Errorf(tensor.ErrInvalid, "%v", e)
			}
		}
		return err
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return n.decode(v.Elem(), tag)
	case reflect.Struct:
		return n.Decode(v.Addr().Interface())
	case reflect.Slice:
		return n.decodeList(v, tag)
	case reflect.Map:
		return n.decodeMap(v, tag)
	}
	return n.decodeScalar(v, tag)
}

func (n Node) decodeList(v reflect.Value, tag reflect.StructTag) error {
	if n.IsMap() && v.Type().Elem().Kind() != reflect.Struct {
		return n.Errorf(tensor.ErrInvalid, "want a list, found %s", n.what())
	}
	list := n.List()
	out := reflect.MakeSlice(v.Type(), len(list), len(list))
	var errs []error
	for i, c := range list {
		errs = append(errs, c.decode(out.Index(i), tag))
	}
	v.Set(out)
	return Join(errs...)
}

func (n Node) decodeMap(v reflect.Value, tag reflect.StructTag) error {
	pairs, err := n.Pairs()
	if err != nil {
		return err
	}
	out := reflect.MakeMap(v.Type())
	var errs []error
	for _, p := range pairs {
		e := reflect.New(v.Type().Elem()).Elem()
		errs = append(errs, p.Value.decode(e, tag))
		out.SetMapIndex(reflect.ValueOf(p.Key).Convert(v.Type().Key()), e)
	}
	v.Set(out)
	return Join(errs...)
}

var (
	wholeNumber = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*)$`)
	realNumber  = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// Scalar reads a text, a number or a truth value into what target points to.
func (n Node) Scalar(target any) error { return n.decodeScalar(reflect.ValueOf(target).Elem(), "") }

func (n Node) decodeScalar(v reflect.Value, tag reflect.StructTag) error {
	want := func(format string, args ...any) error {
		return n.Errorf(tensor.ErrInvalid, "want "+format+", found "+strings.ReplaceAll(n.what(), "%", "%%"), args...)
	}
	if v.Kind() == reflect.String {
		text, err := n.Text()
		if err == nil {
			v.SetString(text)
		}
		return err
	}
	text, err := n.Text()
	if err != nil || n.quoted() {
		text = "" // no value of the kinds below is empty
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return want("a duration such as 90s or 1h30m")
		}
		v.SetInt(int64(d))
	case tag.Get("unit") == "bytes":
		size, err := ParseBytes(text)
		if err != nil {
			return want("a size such as 400MB, 1.5GiB or a number of bytes")
		}
		v.SetInt(size)
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return want("true or false")
		}
		v.SetBool(text == "true")
	case v.CanInt():
		x, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil || !wholeNumber.MatchString(text) {
			return want("a whole number in plain digits")
		}
		v.SetInt(x)
	case v.CanUint():
		x, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil || !wholeNumber.MatchString(text) {
			return want("a whole number in plain digits, 0 or more")
		}
		v.SetUint(x)
	case v.CanFloat():
		x, err := ParseReal(text)
		if err != nil {
			return want("a number such as 0.75 or a percentage")
		}
		v.SetFloat(x)
	default:
		panic(fmt.Sprintf("strict: no way to decode a %v", v.Type()))
	}
	return nil
}

// ParseReal reads a finite number or a percentage.
func ParseReal(text string) (float64, error) {
	digits, percent := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(digits, 64)
	if err != nil || !realNumber.MatchString(digits) {
		return 0, fmt.Errorf("%q is not a number such as 0.75 or a percentage", clip(text))
	}
	if percent {
		x /= 100
	}
	return x, nil
}

var bytesPattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?(B|[KkMGT]B|[KMGT]iB)?$`)

// ParseBytes reads a size: plain bytes, or with a unit such as KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB.
func ParseBytes(text string) (int64, error) {
	m := bytesPattern.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 400MB or 1.5GiB", clip(text))
	}
	x, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, err
	}
	if unit := m[2]; unit != "" && unit != "B" {
		base := 1000.0
		if strings.HasSuffix(unit, "iB") {
			base = 1024
		}
		x *= math.Pow(base, 1+float64(strings.IndexByte("KMGT", strings.ToUpper(unit)[0])))
	}
	if x >= 1<<62 || x != math.Trunc(x) && m[2] == "" {
		return 0, fmt.Errorf("%q is not a size that fits", clip(text))
	}
	return int64(math.Round(x)), nil
}

// check holds a decoded value to the bounds of its tag.
func (n Node) check(v reflect.Value, tag reflect.StructTag) error {
	switch v.Kind() {
	case reflect.Pointer:
		return n.check(v.Elem(), tag)
	case reflect.Slice:
		var errs []error
		for i, c := range n.List() {
			errs = append(errs, c.check(v.Index(i), tag))
		}
		return Join(errs...)
	case reflect.Map:
		var errs []error
		if !n.IsMap() { // made from a scalar by the type itself
			for _, e := range v.Seq2() {
				errs = append(errs, n.check(e, tag))
			}
			return Join(errs...)
		}
		pairs, err := n.Pairs()
		errs = append(errs, err)
		for _, p := range pairs {
			errs = append(errs, p.Value.check(v.MapIndex(reflect.ValueOf(p.Key).Convert(v.Type().Key())), tag))
		}
		return Join(errs...)
	case reflect.String:
		if words := strings.Fields(tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, v.String()) {
			return n.Errorf(tensor.ErrInvalid, "%q is not one of %s%s", clip(v.String()), strings.Join(words, ", "), DidYouMean(v.String(), words))
		}
		return nil
	}
	x, ok := number(v)
	if !ok {
		return nil
	}
	for _, b := range []struct {
		name string
		ok   func(limit float64) bool
		want string
	}{
		{"min", func(l float64) bool { return x >= l }, "at least"},
		{"max", func(l float64) bool { return x <= l }, "at most"},
		{"above", func(l float64) bool { return x > l }, "more than"},
		{"below", func(l float64) bool { return x < l }, "less than"},
	} {
		s, ok := tag.Lookup(b.name)
		if !ok {
			continue
		}
		limit, err := ParseReal(s)
		if err != nil {
			panic("strict: bound of a tag: " + err.Error())
		}
		if !b.ok(limit) {
			return n.Errorf(tensor.ErrInvalid, "%s must be %s %s", n.what(), b.want, s)
		}
	}
	return nil
}

func number(v reflect.Value) (float64, bool) {
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}
