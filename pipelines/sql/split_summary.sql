-- What does each split hold: images by status, and objects?
SELECT split, status, COUNT(*) AS images, SUM(object_count) AS objects, SUM(issue_count) AS findings
FROM images
GROUP BY split, status
ORDER BY split, images DESC, status;
