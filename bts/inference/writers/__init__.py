"""Writers of results, one kind of file each, behind one registry."""
