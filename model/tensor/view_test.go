package tensor

import (
	"reflect"
	"testing"

	"github.com/parelm/pare/model/codec"
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
	q8, err := codec.Lookup("q8_0")
	if err != nil {
		t.Fatal(err)
	}
	long := make([]float32, 64)
	for i := range long {
		long[i] = float32(i - 30)
	}
	blocks, err := Convert(FromFloat32("b", []int{1, 64}, long), q8)
	if err != nil {
		t.Fatal(err)
	}
	turned := make([]int, 64)
	for i := range turned {
		turned[i] = (i + 32) % 64
	}
	sel, err = SelectCols("b", blocks, turned)
	if err != nil {
		t.Fatal(err)
	}
	if got, was := values(t, sel), values(t, blocks); !reflect.DeepEqual(got[:32], was[32:]) || !reflect.DeepEqual(got[32:], was[:32]) {
		t.Errorf("blocks in another order: %v of %v", got, was)
	}
	for _, cols := range [][]int{turned[1:], turned[:40], append([]int{33, 32}, turned[2:]...)} {
		if _, err := SelectCols("bad", blocks, cols); err == nil {
			t.Errorf("parts of blocks accepted: %v", cols)
		}
	}
	channel, err := codec.Lookup("int8")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Convert(FromFloat32("w", []int{1, 64}, long), channel)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := SelectCols("bad", whole, turned); err == nil {
		t.Error("columns of rows with one scale accepted")
	}
}
