package runtime

// Common returns how many of ids, from the first on, are the tokens that the session holds.
func (s *Session) Common(ids []int32) int {
	n := 0
	for n < len(ids) && n < len(s.ids) && ids[n] == s.ids[n] {
		n++
	}
	return n
}

// CanTruncate reports whether Truncate to n tokens forgets without computing anything again: recurrent states cannot go
// back, nor can sliding windows whose older keys are gone, nor caches whose keys were rotated for another length.
func (s *Session) CanTruncate(n int) bool {
	if n >= len(s.ids) || n == 0 {
		return true
	}
	for _, c := range s.caches {
		if c.spec.window > 0 && len(s.ids) > c.spec.window {
			return false
		}
	}
	for i := range s.e.Model.Config.Layers {
		if r := s.e.Model.Config.Layers[i].Rope; r != nil && regime(r, len(s.ids)) != regime(r, n) {
			return false
		}
	}
	return len(s.states) == 0
}

// Context returns the longest sequence the session may hold.
func (s *Session) Context() int { return s.e.context }
