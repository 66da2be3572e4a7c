package torch

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// archive is the zip file that torch.save writes: NAME/data.pkl, NAME/data/0, NAME/data/1 ...
type archive struct {
	r        io.ReaderAt
	path     string
	size     int64
	pickle   []byte
	storages map[string]span // by file name below data/
}

// span is where a stored file lies.
type span struct{ off, size int64 }

// openArchive reads the directory of the archive and its pickle.
func openArchive(r io.ReaderAt, path string, size int64) (*archive, error) {
	corrupt := func(err error) error { return tensor.Errorf(tensor.ErrCorrupt, path, "archive", "%v", err) }
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, corrupt(err)
	}
	if int64(len(z.File)) > limits.SafetensorsTensors {
		return nil, tensor.Errorf(tensor.ErrTooLarge, path, "archive", "holds %d files, the limit is %d", len(z.File), limits.SafetensorsTensors)
	}
	a := &archive{r: r, path: path, size: size, storages: make(map[string]span, len(z.File))}
	var pkl *zip.File
	for _, f := range z.File {
		if !filepath.IsLocal(f.Name) || strings.Contains(f.Name, `\`) {
			return nil, tensor.Errorf(tensor.ErrInvalid, path, "archive", "holds a file called %.80q, which leads out of it", f.Name)
		}
		_, name, _ := strings.Cut(f.Name, "/")
		switch {
		case name == "data.pkl" && pkl != nil:
			return nil, corrupt(errors.New("holds two data.pkl"))
		case name == "data.pkl":
			pkl = f
		case name == "constants.pkl":
			return nil, tensor.Errorf(tensor.ErrUnsupported, path, "archive", "is a TorchScript program, not a state dict: save model.state_dict()")
		case name == "byteorder":
			if err := a.byteOrder(f); err != nil {
				return nil, err
			}
		case strings.HasPrefix(name, "data/"):
			if err := a.addStorage(f, name[len("data/"):]); err != nil {
				return nil, err
			}
		}
	}
	if pkl == nil {
		return nil, tensor.Errorf(tensor.ErrUnsupported, path, "archive", "holds no data.pkl: it was not written by torch.save")
	}
	a.pickle, err = a.read(pkl, limits.Pickle)
	return a, err
}

// place returns where a file of the archive lies. Compressed files are refused: torch writes none.
func (a *archive) place(f *zip.File) (span, error) {
	if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
		return span{}, tensor.Errorf(tensor.ErrUnsupported, a.path, fmt.Sprintf("archive, %.80q", f.Name), "is compressed; torch.save writes no such archive")
	}
	off, err := f.DataOffset()
	if err != nil {
		return span{}, tensor.Errorf(tensor.ErrCorrupt, a.path, fmt.Sprintf("archive, %.80q", f.Name), "%v", err)
	}
	if n := f.UncompressedSize64; off < 0 || off > a.size || n > uint64(a.size-off) {
		return span{}, tensor.Errorf(tensor.ErrCorrupt, a.path, fmt.Sprintf("archive, %.80q", f.Name), "%d bytes at %d reach past the end of the file", n, off)
	}
	return span{off, int64(f.UncompressedSize64)}, nil
}

// read returns the content of a file of the archive, which may be no larger than limit.
func (a *archive) read(f *zip.File, limit int64) ([]byte, error) {
	s, err := a.place(f)
	if err != nil {
		return nil, err
	}
	if s.size > limit {
		return nil, tensor.Errorf(tensor.ErrTooLarge, a.path, fmt.Sprintf("archive, %.80q", f.Name), "has %d bytes, the limit is %d", s.size, limit)
	}
	b := make([]byte, s.size)
	if _, err := a.r.ReadAt(b, s.off); err != nil && len(b) > 0 {
		return nil, tensor.Errorf(tensor.ErrCorrupt, a.path, fmt.Sprintf("archive, %.80q", f.Name), "%v", err)
	}
	return b, nil
}

func (a *archive) byteOrder(f *zip.File) error {
	b, err := a.read(f, 16)
	if err == nil && string(b) != "little" {
		err = tensor.Errorf(tensor.ErrUnsupported, a.path, "archive, byteorder", "is %.16q, want \"little\"", b)
	}
	return err
}

func (a *archive) addStorage(f *zip.File, key string) error {
	if _, dup := a.storages[key]; dup {
		return tensor.Errorf(tensor.ErrCorrupt, a.path, fmt.Sprintf("archive, %.80q", f.Name), "is there twice")
	}
	s, err := a.place(f)
	a.storages[key] = s
	return err
}

// view makes a readable tensor of a view, after checking that it lies inside its storage.
func (a *archive) view(name string, s *strided) (*tensor.Tensor, error) {
	field := fmt.Sprintf("tensor %.80q", name)
	fail := func(class error, format string, args ...any) (*tensor.Tensor, error) {
		return nil, tensor.Errorf(class, a.path, field, format, args...)
	}
	if err := container.TensorName(name); err != nil {
		return fail(tensor.ErrInvalid, "%v", err)
	}
	c, err := codec.Lookup(s.dtype)
	if err != nil {
		return fail(tensor.ErrUnsupported, "%v", err)
	}
	file, ok := a.storages[s.storage.key]
	if !ok {
		return fail(tensor.ErrCorrupt, "its storage %.40q is not in the archive", s.storage.key)
	}
	_, size := c.Block()
	end, err := s.end()
	if err == nil {
		end, err = limits.Product(end, int64(size))
	}
	if err == nil {
		_, err = limits.Product(append([]int64{8}, s.shape...)...)
	}
	if err != nil {
		return fail(tensor.ErrCorrupt, "shape %v, strides %v: %v", s.shape, s.stride, err)
	}
	if end > file.size {
		return fail(tensor.ErrCorrupt, "shape %v, strides %v, offset %d need %d bytes of a storage of %d", s.shape, s.stride, s.offset, end, file.size)
	}
	shape := make([]int, len(s.shape))
	for i, d := range s.shape {
		shape[i] = int(d)
		if int64(shape[i]) != d {
			return fail(tensor.ErrTooLarge, "dimension %d does not fit this machine's integers", d)
		}
	}
	t, err := s.open(name, c, shape, a.r, file.off)
	if err != nil {
		return fail(tensor.ErrUnsupported, "%v", err)
	}
	return t, nil
}
