// Package guestrpc is the host's side of VMware's guest RPC, as a VMX would
// answer it, over two byte streams: RPCI (the guest asks) and TCLO (the host
// asks). Messages are a uint32 big-endian length and that many bytes, at most
// 2 MiB. What the guest says goes to a machine.Guest.
//
//	h := guestrpc.New(guestrpc.Config{Guest: g, Log: log})
//	go h.ServeRPCI(ctx, conn1) // until the stream or ctx ends
//	go h.ServeTCLO(ctx, conn2)
//	err := h.Power(ctx, guestrpc.Halt) // soft power-off
//
// A guest is never trusted: a malformed message gets an answer "0 reason" or
// ends the stream, never the process.
//
// It must not know how the streams come about, nor where keys are kept.
//
// Start reading at rpci.go, then tclo.go.
package guestrpc
