"""What people look at: tables, figures, and one page."""
