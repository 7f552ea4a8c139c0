-- Which images have the most findings?
SELECT image_id, split, status, issue_count, object_count
FROM images
WHERE issue_count > 0
ORDER BY issue_count DESC, image_id
LIMIT 20;
