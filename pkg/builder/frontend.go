package builder

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

// methodFrontendSolve is how buildx solves: it is the frontend itself, and has
// buildkitd call the Dockerfile's.
const methodFrontendSolve = "/moby.buildkit.v1.frontend.LLBBridge/Solve"

// Fields of that call's messages (frontend/gateway/pb/gateway.proto in moby/buildkit).
const (
	fieldFrontend    = protowire.Number(2)  // of SolveRequest
	fieldFrontendOpt = protowire.Number(3)  // of SolveRequest
	fieldResult      = protowire.Number(3)  // of SolveResponse
	fieldMetadata    = protowire.Number(10) // of Result
)

// requestTargets is the frontend's list of a Dockerfile's stages
// (frontend/subrequests/targets in moby/buildkit).
const (
	attrRequest    = "requestid"
	requestTargets = "frontend.targets"
)

// frontendSolve passes a client's call of a frontend on, and gives that the images
// which only the store has.
func (b *Builder) frontendSolve(s grpc.ServerStream, to *grpc.ClientConn) error {
	in := &frame{}
	if err := s.RecvMsg(in); err != nil {
		return err
	}
	images := b.cfg.Local()
	frontend, err := stringField(in.data, fieldFrontend)
	if err != nil {
		return asStatus(err)
	}
	attrs, err := mapField(in.data, fieldFrontendOpt)
	if err != nil {
		return asStatus(err)
	}
	if len(images) > 0 && readsDockerfile(frontend) && attrs[attrRequest] == "" && attrs["image-resolve-mode"] != "pull" {
		var stages map[string]bool
		if someCouldBeStages(images) {
			ctx := metadata.NewOutgoingContext(s.Context(), outgoing(s.Context()))
			if stages, err = askStages(ctx, to, in.data); err != nil {
				// The solve itself will say what is wrong with the Dockerfile.
				b.log.WithError(err).Debug("stages of a Dockerfile")
			}
		}
		in.data = appendMap(in.data, fieldFrontendOpt, localContexts(images, attrs, stages))
	}
	return forward(s, to, methodFrontendSolve, in)
}

// readsDockerfile tells whether a frontend may know named contexts.
func readsDockerfile(frontend string) bool {
	return frontend == "dockerfile.v0" || frontend == "gateway.v0"
}

// askStages has the frontend of a SolveRequest list the Dockerfile's stages.
func askStages(ctx context.Context, to *grpc.ClientConn, request []byte) (map[string]bool, error) {
	ask := &frame{appendMap(slices.Clone(request), fieldFrontendOpt, map[string]string{attrRequest: requestTargets})}
	var out frame
	if err := to.Invoke(ctx, methodFrontendSolve, ask, &out, grpc.ForceCodecV2(frames{})); err != nil {
		return nil, err
	}
	return parseStages(out.data)
}

// parseStages reads the SolveResponse to such a request. The names are in the lower
// case that the frontend has them in.
func parseStages(response []byte) (map[string]bool, error) {
	result, err := stringField(response, fieldResult)
	if err != nil {
		return nil, err
	}
	meta, err := mapField([]byte(result), fieldMetadata)
	if err != nil {
		return nil, err
	}
	var list struct {
		Targets []struct {
			Name string `json:"name"`
		} `json:"targets"`
	}
	if err := json.Unmarshal([]byte(meta["result.json"]), &list); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, t := range list.Targets {
		out[t.Name] = true
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
