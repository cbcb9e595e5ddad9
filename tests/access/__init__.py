"""Who may do what on each port and table: asked of a running stack, and compared with the page that says so."""
