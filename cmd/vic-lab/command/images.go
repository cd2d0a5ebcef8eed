package command

import (
	"github.com/spf13/cobra"
)

func imagesCommand(t Terminal) *cobra.Command {
	return &cobra.Command{Use: "images"}
}
