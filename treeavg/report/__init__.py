"""What people look at: tables and drawings."""
