package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// Images that only the image store has are given to a build as named contexts: an
// attribute "context:NAME" of the frontend with the value "oci-layout://STORE@DIGEST",
// whose blobs buildkitd asks the session for (frontend/dockerui/namedcontext.go and
// source/containerimage/ocilayout.go in moby/buildkit).
const (
	contextAttr = "context:"
	// localStore names the store in references, keyStore in a call's metadata.
	localStore = "vic-images"
	keyStore   = "buildkit-attachable-store-id"

	methodContentInfo = "/containerd.services.content.v1.Content/Info"
	methodContentRead = "/containerd.services.content.v1.Content/Read"
)

// isLocal tells whether a call to a session is for the blobs of the image store:
// a client can have stores of its own.
func isLocal(method string, s grpc.ServerStream) bool {
	if method != methodContentInfo && method != methodContentRead {
		return false
	}
	md, _ := metadata.FromIncomingContext(s.Context())
	v := md.Get(keyStore)
	return len(v) > 0 && v[0] == "oci:"+localStore
}

// localContexts are the attributes for the images that only the store has, which
// images gives by their names in full. attrs are the frontend's so far: with
// --pull nothing is local, and a context of the client's own stays. A named context
// stands for a stage of that name too, so an image whose name could be a stage's is
// left out if stages has it, or if the stages are unknown (nil).
func localContexts(images, attrs map[string]string, stages map[string]bool) map[string]string {
	if attrs["image-resolve-mode"] == "pull" {
		return nil
	}
	out := map[string]string{}
	for name, manifest := range images {
		key, ok := contextName(name)
		if !ok || couldBeStage(key) && (stages == nil || stages[key]) {
			continue
		}
		if _, taken := attrs[contextAttr+key]; !taken {
			out[contextAttr+key] = "oci-layout://" + localStore + "@" + manifest
		}
	}
	return out
}

// contextName is how the frontend looks an image up: its familiar name without the
// tag latest.
func contextName(name string) (string, bool) {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false
	}
	return strings.TrimSuffix(reference.FamiliarString(n), ":latest"), true
}

// couldBeStage: stages have no tag, host or path (frontend/dockerfile/instructions).
func couldBeStage(key string) bool { return !strings.ContainsAny(key, "/:") }

// someCouldBeStages tells whether stages matter for localContexts.
func someCouldBeStages(images map[string]string) bool {
	for name := range images {
		if key, ok := contextName(name); ok && couldBeStage(key) {
			return true
		}
	}
	return false
}

// addLocal adds to a classic build's attrs what localContexts gives. The context may
// be in a Read when it returns with ctx's error.
func (b *Builder) addLocal(ctx context.Context, attrs map[string]string, o *Options) error {
	images := b.cfg.Local()
	if len(images) == 0 || o.Pull {
		return nil
	}
	if o.Remote != "" || o.Context == nil || !someCouldBeStages(images) {
		maps.Copy(attrs, localContexts(images, attrs, nil))
		return nil
	}
	found := make(chan map[string]bool, 1)
	source, name := o.Context, o.Dockerfile
	var whole io.Reader // set before found
	go func() {
		var stages map[string]bool
		stages, whole = peekStages(source, name)
		found <- stages
	}()
	select {
	case stages := <-found:
		o.Context = whole
		maps.Copy(attrs, localContexts(images, attrs, stages))
		return nil
	case <-ctx.Done(): // a client that does not send
		return ctx.Err()
	}
}

// content serves the image store to buildkitd.
func (b *Builder) content(method string, s grpc.ServerStream) error {
	var in frame
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	var err error
	if method == methodContentInfo {
		err = b.contentInfo(s, in.data)
	} else {
		err = b.contentRead(s, in.data)
	}
	if err != nil {
		return asStatus(err)
	}
	return nil
}

// contentInfo answers InfoRequest{digest} with InfoResponse{Info{digest, size}}
// (api/services/content/v1/content.proto in containerd, as contentRead's).
func (b *Builder) contentInfo(s grpc.ServerStream, in []byte) error {
	digest, err := stringField(in, 1)
	if err != nil {
		return err
	}
	r, size, err := b.cfg.Blob(s.Context(), digest, 0)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	info := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), digest)
	info = protowire.AppendVarint(protowire.AppendTag(info, 2, protowire.VarintType), uint64(size))
	return s.SendMsg(&frame{protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), info)})
}

// contentRead answers ReadContentRequest{digest, offset, size} with a stream of
// ReadContentResponse{offset, data}; without a size it is the rest.
func (b *Builder) contentRead(s grpc.ServerStream, in []byte) error {
	digest, err := stringField(in, 1)
	if err != nil {
		return err
	}
	offset, err := intField(in, 2)
	if err != nil {
		return err
	}
	size, err := intField(in, 3)
	if err != nil {
		return err
	}
	if offset < 0 || size < 0 {
		return fmt.Errorf("read %d bytes from %d of blob %s: %w", size, offset, digest, errdefs.ErrInvalidArgument)
	}
	r, whole, err := b.cfg.Blob(s.Context(), digest, offset)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if offset > whole {
		return status.Errorf(codes.OutOfRange, "blob %s has %d bytes, not %d", digest, whole, offset)
	}
	left := whole - offset
	if size > 0 {
		left = min(left, size)
	}
	buf := make([]byte, min(left, 64<<10))
	for left > 0 {
		n, err := io.ReadFull(r, buf[:min(left, int64(len(buf)))])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("blob %s ends %d bytes early: %w", digest, left-int64(n), errdefs.ErrDataLoss)
		}
		if err != nil {
			return fmt.Errorf("read blob %s: %w", digest, err)
		}
		m := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(offset))
		m = protowire.AppendBytes(protowire.AppendTag(m, 2, protowire.BytesType), buf[:n])
		if err := s.SendMsg(&frame{m}); err != nil {
			return err
		}
		offset, left = offset+int64(n), left-int64(n)
	}
	return nil
}
