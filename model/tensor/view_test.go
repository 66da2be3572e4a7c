package tensor

import (
	"reflect"
	"testing"
)

func values(t *testing.T, x *Tensor) []float32 {
	t.Helper()
	v, err := x.Float32()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestViews composes views and compares them with plain index arithmetic.
func TestViews(t *testing.T) {
	base := make([]float32, 6*4)
	for i := range base {
		base[i] = float32(i)
	}
	x := FromFloat32("x", []int{6, 4}, base)

	spans, err := RowSpans("s", x, []int{3, 4}, []Span{{4, 5}, {0, 2}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := values(t, spans), []float32{16, 17, 18, 19, 0, 1, 2, 3, 4, 5, 6, 7}; !reflect.DeepEqual(got, want) {
		t.Errorf("spans: %v", got)
	}
	tr, err := Transpose("t", spans)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := values(t, tr), []float32{16, 0, 4, 17, 1, 5, 18, 2, 6, 19, 3, 7}; !reflect.DeepEqual(got, want) {
		t.Errorf("transpose: %v", got)
	}
	sel, err := SelectCols("c", tr, []int{2, 0})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := values(t, sel), []float32{4, 16, 5, 17, 6, 18, 7, 19}; !reflect.DeepEqual(got, want) {
		t.Errorf("select: %v", got)
	}
	cat, err := Concat("k", []int{3, 4}, []Part{{x, Span{5, 6}}, {spans, Span{0, 2}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := values(t, cat), []float32{20, 21, 22, 23, 16, 17, 18, 19, 0, 1, 2, 3}; !reflect.DeepEqual(got, want) {
		t.Errorf("concat: %v", got)
	}
	part := make([]float32, 4)
	if err := cat.ReadFloat32(part, 1, 2); err != nil || part[0] != 16 {
		t.Errorf("one row of a concatenation: %v, %v", part, err)
	}
	if _, err := RowSpans("bad", x, []int{3, 4}, []Span{{4, 7}}); err == nil {
		t.Error("rows past the end accepted")
	}
	if _, err := SelectCols("bad", x, []int{4}); err == nil {
		t.Error("column past the end accepted")
	}
}
