package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// frame is a message as it is on the wire.
type frame struct{ data []byte }

// frames passes messages on unread, so that what client and buildkitd say to each
// other need not be known here.
type frames struct{}

var _ encoding.CodecV2 = frames{}

// Name is that of the codec it stands for: it goes into content-type.
func (frames) Name() string { return "proto" }

func (frames) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *frame:
		return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
	case vtMessage:
		data, err := m.MarshalVT()
		return mem.BufferSlice{mem.SliceBuffer(data)}, err
	}
	return nil, fmt.Errorf("message of type %T", v)
}

func (frames) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *frame:
		m.data = data.Materialize()
		return nil
	case vtMessage:
		return m.UnmarshalVT(data.Materialize())
	}
	return fmt.Errorf("message of type %T", v)
}

// vtMessage is a message of BuildKit's generated code.
type vtMessage interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// server takes every method to one handler.
func server(handle func(method string, s grpc.ServerStream) error) *grpc.Server {
	return grpc.NewServer(
		grpc.ForceServerCodecV2(frames{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
			method, ok := grpc.MethodFromServerStream(s)
			if !ok {
				return status.Error(codes.Internal, "call without a method")
			}
			return handle(method, s)
		}))
}

// outgoing is a call's metadata as the next hop is to get it.
func outgoing(ctx context.Context) metadata.MD {
	in, _ := metadata.FromIncomingContext(ctx)
	md := in.Copy()
	for k := range md {
		if strings.HasPrefix(k, ":") || strings.HasPrefix(k, "grpc-") || k == "content-type" || k == "user-agent" {
			delete(md, k) // of the hop, not of the call
		}
	}
	return md
}

// forward passes one call on, unread, and its answer back. first, when it is not
// nil, is a message of the client's that was read already.
func forward(s grpc.ServerStream, to *grpc.ClientConn, method string, first *frame) error {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(s.Context(), outgoing(s.Context())))
	defer cancel()
	c, err := to.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(frames{}))
	if err != nil {
		return err
	}
	go func() {
		if first != nil && c.SendMsg(first) != nil {
			return // the error is what RecvMsg gives
		}
		for {
			m := &frame{}
			err := s.RecvMsg(m)
			if errors.Is(err, io.EOF) {
				_ = c.CloseSend()
				return
			}
			if err != nil {
				cancel() // the client is gone
				return
			}
			if c.SendMsg(m) != nil {
				return
			}
		}
	}()
	err = answer(s, c)
	s.SetTrailer(c.Trailer())
	cancel()
	// The sender is in RecvMsg of the client's stream, which ends with this call:
	// gRPC lets the handler return under it.
	return err
}

// answer copies what the server of a call says to its client.
func answer(s grpc.ServerStream, c grpc.ClientStream) error {
	md, err := c.Header()
	if err != nil {
		return err
	}
	delete(md, "content-type")
	if err := s.SendHeader(md); err != nil {
		return err
	}
	for {
		m := &frame{}
		err := c.RecvMsg(m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.SendMsg(m); err != nil {
			return err
		}
	}
}
