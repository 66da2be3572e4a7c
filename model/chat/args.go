package chat

// args are the arguments of a call.
type args struct {
	of    string // what is called, for errors
	pos   []any
	names []string
	named []any
}

// get returns the argument at a place or of a name, or a default.
func (a *args) get(i int, name string, def any) any {
	if i >= 0 && i < len(a.pos) {
		return a.pos[i]
	}
	for k, n := range a.names {
		if n == name {
			return a.named[k]
		}
	}
	return def
}

func (a *args) text(i int, name, def string) text {
	switch v := a.get(i, name, lit(def)).(type) {
	case text:
		return v
	case nil:
		return lit(def)
	default:
		fail("%s: %s must be a string, not a %s", a.of, name, typeName(v))
	}
	return text{}
}

func (a *args) int(i int, name string, def int64) int64 {
	switch v := a.get(i, name, def).(type) {
	case nil:
		return def
	default:
		n, ok := integer(v)
		if !ok {
			fail("%s: %s must be an integer, not a %s", a.of, name, typeName(v))
		}
		return n
	}
}

func (a *args) bool(i int, name string, def bool) bool { return truth(a.get(i, name, def)) }

// want fails unless the call has from lo to hi arguments without names.
func (a *args) want(lo, hi int) {
	if n := len(a.pos); n < lo || n > hi {
		fail("%s has %d arguments, want %d to %d", a.of, n, lo, hi)
	}
}

// rest returns the arguments from i on, for a filter or test that is named by one.
func (a *args) rest(i int) *args {
	return &args{of: a.of, pos: a.pos[min(i, len(a.pos)):], names: a.names, named: a.named}
}
